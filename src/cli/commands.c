/* The table of commands. A command exists from the day it works. */
#include "cli/cli.h"

#define DAEMON_OPTIONS (FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST))

/* Of every command that talks to agents; of those that give an order; of those that change
 * something. */
#define ASK_OPTIONS                                                                                \
    (FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(SERVER) | FM_OPT_BIT(CERT) |               \
     FM_OPT_BIT(KEY) | FM_OPT_BIT(OUTPUT) | FM_OPT_BIT(TIMEOUT) | FM_OPT_BIT(NO_INPUT))
#define ORDER_OPTIONS (ASK_OPTIONS | FM_OPT_BIT(REASON) | FM_OPT_BIT(DRY_RUN) | FM_OPT_BIT(EXPECT))

#define JOURNAL_OPTIONS                                                                            \
    (FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(FILE) | FM_OPT_BIT(OUTPUT))

const struct fm_command fm_commands[] = {
    {"demo", "[STORY]", "watch a region die under live traffic, and nobody notice",
     "Starts two regions on this machine (an agent and two instances of a sample application "
     "each),\n"
     "a witness and an edge, sends queries and commands at a constant rate, then breaks "
     "something,\n"
     "and measures from the clients' side what they noticed. Stories: bank (the default),\n"
     "read-only-site and cold-standby. --scenario (of the bank) takes kill, freeze, partial, "
     "move,\n"
     "partition, coordination-loss, split-brain, and, where PostgreSQL is installed, switchover,\n"
     "forced and failback of a PostgreSQL group; or all. Without it some are shown in a minute.\n"
     "Needs no root; everything lives in a temporary folder and is cleaned up, also on Ctrl-C.\n"
     "Exit code 2 if an objective was missed.",
     "fulmar demo --scenario split-brain",
     FM_OPT_BIT(SCENARIO) | FM_OPT_BIT(RATE) | FM_OPT_BIT(REGIONS) | FM_OPT_BIT(KEEP) |
         FM_OPT_BIT(OUTPUT) | FM_OPT_BIT(COLOR) | FM_OPT_BIT(NO_INPUT),
     1, fm_cmd_demo},
    {"edge", "", "run the global front: accept clients, pick a region per request",
     "SIGHUP reloads the configuration: the new file is checked whole, a bad one changes nothing.\n"
     "SIGTERM drains: not ready, then finish, then exit. A second one exits at once.",
     "fulmar edge -c fulmar.yaml", DAEMON_OPTIONS | FM_OPT_BIT(REGION), 0, fm_cmd_edge},
    {"agent", "", "run the roles of a host: the region's gate, its health checks",
     "The host must be listed under `hosts`. SIGHUP reloads, SIGTERM drains.",
     "fulmar agent -c fulmar.yaml --host west-1", DAEMON_OPTIONS, 0, fm_cmd_agent},
    {"guard", "[-- COMMAND...]", "run the agent of a host, and its application, under a guard",
     "The guard starts `fulmar agent` and COMMAND. When the agent dies or falls silent it ends "
     "all\n"
     "of them, and tells the agents elsewhere that nothing here writes any more: another region "
     "can\n"
     "take over at once instead of waiting for the lease. Only where COMMAND is everything of "
     "this\n"
     "host that writes; without it the others wait. It ends with 1 then: let your service manager\n"
     "start it again. SIGTERM ends the agent in order, SIGHUP reloads it.",
     "fulmar guard -c fulmar.yaml -- /usr/local/bin/shop", DAEMON_OPTIONS, FM_ARGS_MAX,
     fm_cmd_guard},
    {"lease run", "CONTEXT[/CELL] -- COMMAND...",
     "run a command in the region that holds a context",
     "Waits until this host's region holds the context (--timeout: no longer than that), then "
     "runs\n"
     "COMMAND, with FULMAR_EPOCH, FULMAR_CONTEXT and FULMAR_CELL in its environment: give the "
     "epoch\n"
     "to what it writes to, as the fencing token. When the region loses the context, is cut off "
     "or\n"
     "moves it away, COMMAND is ended, with all that it has started, before another region can "
     "begin:\n"
     "SIGTERM first, SIGKILL before the lease is over. Needs an agent with the role gate on this "
     "host.\n"
     "Exit code: that of COMMAND (128 and the signal that ended it); 5 where it was ended because "
     "the\n"
     "lease was; 75, or 69 without an agent, where --timeout passed before it could begin.",
     "fulmar lease run ledger -- /usr/local/bin/close-the-day",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(TIMEOUT), FM_ARGS_MAX, fm_cmd_lease_run},
    {"config check", "[FILE]", "check a configuration, all of it, and say every error at once",
     "Exit code 0 where it is good (warnings may be printed), 78 where it is not. For each "
     "context\n"
     "that one region alone may write it says how long taking over takes at the least, what that "
     "is\n"
     "made of, and what may be lost.",
     "fulmar config check fulmar.yaml", FM_OPT_BIT(CONFIG) | FM_OPT_BIT(OUTPUT), 1,
     fm_cmd_config_check},
    {"config schema", "", "print the JSON Schema of the configuration, for editors",
     "Point your editor's YAML support at the file, and it completes and checks while you type.",
     "fulmar config schema > fulmar.schema.json", 0, 0, fm_cmd_config_schema},
    {"config reference", "", "print the reference of the configuration as Markdown",
     "The same page as docs/reference/configuration.md, of exactly this version.",
     "fulmar config reference | less", 0, 0, fm_cmd_config_reference},
    {"config diff", "", "say in what a file differs from what hosts agree upon",
     "Homes, leases, failover and failback of contexts, and the hosts, are agreed through "
     "coordination:\n"
     "agents go by what is agreed, whatever their files say. Asks an agent, and compares --config "
     "with it.\n"
     "Exit code 0 where both say the same, 2 where they differ.",
     "fulmar config diff -c fulmar.yaml", ASK_OPTIONS, 0, fm_cmd_config_diff},
    {"config apply", "", "let all hosts agree upon what a file says",
     "Bring the file to every host first. All agents go by it at once, without a restart; a new "
     "lease\n"
     "counts from the next grant on. Refused while an operation is under way, where a region would "
     "go\n"
     "that holds something, where what is fixed for life would change, and where somebody else "
     "was\n"
     "quicker. --expect-generation is that of what is agreed, as `fulmar config diff` shows it.",
     "fulmar config apply -c fulmar.yaml --reason \"a longer lease for cards\"", ORDER_OPTIONS, 0,
     fm_cmd_config_apply},
    {"coordination status", "",
     "ask whether regions can agree: store, endpoints, stamp, who is frozen",
     "Reads the store of `coordination` itself, not through a daemon, asks every controller what "
     "it\n"
     "has seen, and writes nothing. Exit code 0 where a linearizable read succeeds; 2 where the "
     "store\n"
     "is another service's, or controllers have seen more than it shows; 69 if nobody answered; 75 "
     "if\n"
     "somebody did, but there is no quorum; 77 if it lets us not in.",
     "fulmar coordination status -c fulmar.yaml",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(OUTPUT) | FM_OPT_BIT(TIMEOUT) |
         FM_OPT_BIT(CERT) | FM_OPT_BIT(KEY),
     0, fm_cmd_coordination_status},
    {"coordination reseed", "", "seed coordination anew, after an older copy of it was restored",
     "For when controllers are frozen (`fulmar coordination status`). Asks every controller what "
     "it "
     "has\n"
     "seen, and releases each cell for who held it last, above all that was ever seen. Commands "
     "wait\n"
     "for a lease. --confirm is the name of the service; --dry-run prints the plan. A region of "
     "which\n"
     "nobody answers refuses it, unless it is lost: --override unreachable.",
     "fulmar coordination reseed --confirm bank --reason \"etcd was restored\"",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(OUTPUT) | FM_OPT_BIT(TIMEOUT) |
         FM_OPT_BIT(CERT) | FM_OPT_BIT(KEY) | FM_OPT_BIT(REASON) | FM_OPT_BIT(CONFIRM) |
         FM_OPT_BIT(OVERRIDE) | FM_OPT_BIT(DRY_RUN) | FM_OPT_BIT(NO_INPUT),
     0, fm_cmd_coordination_reseed},
    {"certs init", "", "make the private authority by which hosts know each other",
     "Writes peers-ca.pem and peers-ca.key into the folder of `peer-tls.ca`. The key makes\n"
     "certificates: keep it where you run this command, not on the hosts.",
     "fulmar certs init -c fulmar.yaml", FM_OPT_BIT(CONFIG), 0, fm_cmd_certs_init},
    {"certs add", "[HOST [NAME...]]", "make the certificate of a host, or of all that are listed",
     "Writes HOST.pem and HOST.key beside the authority. Its name and its address in the\n"
     "configuration are in it; NAMEs are more DNS names and addresses. Bring both files and\n"
     "peers-ca.pem to the host.",
     "fulmar certs add -c fulmar.yaml west-gate-1", FM_OPT_BIT(CONFIG), FM_ARGS_MAX,
     fm_cmd_certs_add},
    {"certs rotate", "[HOST]", "renew the certificate of a host, of all, or the authority",
     "New keys, with the names that the old certificates have. With --authority a new authority "
     "is\n"
     "put beside the old one in peers-ca.pem: bring that to all hosts first, then renew them.\n"
     "Running daemons take the files over on SIGHUP.",
     "fulmar certs rotate -c fulmar.yaml", FM_OPT_BIT(CONFIG) | FM_OPT_BIT(AUTHORITY), 1,
     fm_cmd_certs_rotate},
    {"status", "[REGION|CONTEXT|HOST]",
     "show what an edge or agent sees: intent, health, why, since when",
     "Asks the daemon of this host through its local socket, or another one with --server.\n"
     "Exit code 0 if anyone answered; with --check 2 unless every region is well; 69 if nobody\n"
     "answered.",
     "fulmar status -c fulmar.yaml",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(SERVER) | FM_OPT_BIT(OUTPUT) |
         FM_OPT_BIT(WATCH) | FM_OPT_BIT(CHECK) | FM_OPT_BIT(COLOR) | FM_OPT_BIT(TIMEOUT) |
         FM_OPT_BIT(CERT) | FM_OPT_BIT(KEY) | FM_OPT_BIT(NO_INPUT),
     1, fm_cmd_status},
    {"move", "CONTEXT --to REGION --reason TEXT",
     "move the right to write to another region, planned, losing nothing",
     "New commands are held while those under way end; the right, the journal and the data are "
     "whole\n"
     "at the other region before it takes over. What stands in the way aborts it, to the holder.\n"
     "With --cells or --percent only some cells of the context move.",
     "fulmar move ledger --to north --reason \"kernel update in west\"",
     ORDER_OPTIONS | FM_OPT_BIT(TO) | FM_OPT_BIT(CELLS) | FM_OPT_BIT(PERCENT), 1, fm_cmd_move},
    {"failback", "CONTEXT --reason TEXT", "move the right to write home again, a canary first",
     "Cell by cell, after home was well for long enough, at lag zero; all of it returns where the\n"
     "canary does badly.",
     "fulmar failback ledger --reason \"west is repaired\"", ORDER_OPTIONS, 1, fm_cmd_failback},
    {"evacuate", "REGION --reason TEXT",
     "move everything away from a region, planned where possible", NULL,
     "fulmar evacuate west --reason \"flood warning\"", ORDER_OPTIONS, 1, fm_cmd_evacuate},
    {"drain", "REGION|HOST|REGION/POOL/ADDRESS --reason TEXT",
     "take traffic away from a region, a gate, an edge or an instance",
     "Of a region: queries and commands that any region may answer; all of them, or --percent of\n"
     "them. It says what you want, and is obeyed whatever the health of regions is, until `fulmar\n"
     "undrain` or for --for. The right to write stays where it is: `fulmar evacuate` and `fulmar\n"
     "move` move that. A host or an instance gets no new requests, and what is under way there "
     "ends\n"
     "by itself.",
     "fulmar drain west --for 30m --reason \"kernel update in west\"",
     ORDER_OPTIONS | FM_OPT_BIT(CONTEXT) | FM_OPT_BIT(PERCENT) | FM_OPT_BIT(FOR) |
         FM_OPT_BIT(OVERRIDE),
     1, fm_cmd_drain},
    {"undrain", "REGION|HOST|REGION/POOL/ADDRESS --reason TEXT", "give back what a drain took away",
     "What was drained with --context is undrained with it.",
     "fulmar undrain west --reason \"west is updated\"", ORDER_OPTIONS | FM_OPT_BIT(CONTEXT), 1,
     fm_cmd_undrain},
    {"quote", "CONTEXT --to REGION",
     "say what a failover would cost now, and which evidence there is",
     "Changes nothing. A quote is valid for seconds: `fulmar failover` takes its number.",
     "fulmar quote ledger --to north", ASK_OPTIONS | FM_OPT_BIT(TO), 1, fm_cmd_quote},
    {"failover", "CONTEXT --to REGION --reason TEXT",
     "take the right to write from a region that is lost, with what it costs",
     "For what is not planned: while observers see the holder healthy it is refused; use `move`.\n"
     "Where something may be lost, a person accepts that: a quote, and the context once more.\n"
     "With two regions and no third domain somebody attests that nothing in the lost region "
     "writes\n"
     "any more. --prepare, --complete and --stand-down are the steps by hand.",
     "fulmar failover ledger --to north --attest-fence west --reason fire",
     ORDER_OPTIONS | FM_OPT_BIT(OVERRIDE) | FM_OPT_BIT(TO) | FM_OPT_BIT(ACCEPT_LOSS) |
         FM_OPT_BIT(CONFIRM) | FM_OPT_BIT(ATTEST) | FM_OPT_BIT(PREPARE) | FM_OPT_BIT(COMPLETE) |
         FM_OPT_BIT(STAND_DOWN),
     1, fm_cmd_failover},
    {"read-only", "CONTEXT on|off --reason TEXT",
     "answer queries, and tell commands to come again later",
     "Clients get 503 with the message for commands; applications see `Fulmar-Mode: read-only`.",
     "fulmar read-only ledger on --message \"back at 14:00\" --reason upgrade",
     ORDER_OPTIONS | FM_OPT_BIT(MESSAGE), 2, fm_cmd_read_only},
    {"automatic pause", "[CONTEXT] --reason TEXT", "let nothing fail over by itself for a while",
     "Without --for until `fulmar automatic resume`. Without CONTEXT for all of them.",
     "fulmar automatic pause --for 1h --reason \"work on the network\"",
     ORDER_OPTIONS | FM_OPT_BIT(FOR), 1, fm_cmd_automatic_pause},
    {"automatic resume", "[CONTEXT] --reason TEXT", "let contexts fail over by themselves again",
     "Those whose mode is automatic.", "fulmar automatic resume --reason \"work is done\"",
     ORDER_OPTIONS, 1, fm_cmd_automatic_resume},
    {"op list", "", "list the operations under way, and those that were", NULL, "fulmar op list",
     ASK_OPTIONS | FM_OPT_BIT(WATCH), 0, fm_cmd_op_list},
    {"op show", "ID", "show one operation with its steps",
     "Exit code 2 where there is no such operation (any more).",
     "fulmar op show 20261121-140842-83f0c1", ASK_OPTIONS | FM_OPT_BIT(WATCH), 1, fm_cmd_op_show},
    {"op wait", "ID", "wait until an operation is over, and end as its command would have",
     "Ctrl-C or --timeout leave it to itself: exit code 4.",
     "fulmar op wait 20261121-140842-83f0c1", ASK_OPTIONS, 1, fm_cmd_op_wait},
    {"op abort", "ID --reason TEXT",
     "stop an operation: what it had moved stays, the rest stays where it is", NULL,
     "fulmar op abort 20261121-140842-83f0c1 --reason mistake", ORDER_OPTIONS, 1, fm_cmd_op_abort},
    {"group create", "GROUP --reason TEXT",
     "make the first node of a PostgreSQL group, in the region that holds it",
     "In an empty data directory of the node that is first by its name there; the other nodes "
     "copy\n"
     "it by themselves. `fulmar group status` shows how far they are.",
     "fulmar group create ledger --reason \"first day\"", ORDER_OPTIONS, 1, fm_cmd_group_create},
    {"group add", "GROUP NODE --reason TEXT",
     "make another host a node of a PostgreSQL group: a copy of the primary",
     "The host has the role `postgres`, and its agent runs. `data`, `port` and `delay` are those "
     "that the\n"
     "file says of it in `nodes`, else the usual ones. It is refused where the folder is not "
     "empty, or the\n"
     "port taken; else all hosts agree upon the node, as by `fulmar config apply`. It says how "
     "much is\n"
     "copied, and ends when the node could be promoted, or, if it is delayed, receives.",
     "fulmar group add ledger north-db-2 --reason \"a third copy\"", ORDER_OPTIONS, 2,
     fm_cmd_group_add},
    {"group remove", "GROUP NODE [--confirm NODE] --reason TEXT",
     "take a standby out of a PostgreSQL group",
     "All hosts agree upon that, as by `fulmar config apply`. Nobody counts on it any more, "
     "PostgreSQL is\n"
     "stopped there, its slot goes, and its data stay where they are. The primary is refused: "
     "`fulmar\n"
     "move` makes another one. The last one that could be promoted needs --confirm with its name.",
     "fulmar group remove ledger north-db-2 --reason \"the host goes\"",
     ORDER_OPTIONS | FM_OPT_BIT(CONFIRM), 2, fm_cmd_group_remove},
    {"group reinit", "GROUP NODE --reason TEXT",
     "throw the data of a standby away, and copy them anew",
     "Its data go once the primary has answered; it says how much is copied, and ends when the "
     "node\n"
     "follows. The primary is refused: `fulmar move` makes another one.",
     "fulmar group reinit ledger north-db-1 --reason \"a disk was replaced\"", ORDER_OPTIONS, 2,
     fm_cmd_group_reinit},
    {"group maintain", "GROUP NODE on|off --reason TEXT",
     "leave a standby to a person, and take it back",
     "While it is on the agent neither starts nor stops PostgreSQL there, nor promotes it, also "
     "after\n"
     "a restart of the agent. PostgreSQL goes on as it is. `off` also lets a node try again that "
     "is\n"
     "fenced. The primary is refused: `fulmar move` makes another one.",
     "fulmar group maintain ledger north-db-1 on --reason \"new kernel\"", ORDER_OPTIONS, 3,
     fm_cmd_group_maintain},
    {"group status", "[GROUP]", "show the nodes of PostgreSQL groups: who is primary, who follows",
     "As the agent that answers has heard it; exit code 2 where there is no such group.",
     "fulmar group status ledger", ASK_OPTIONS | FM_OPT_BIT(WATCH), 1, fm_cmd_group_status},
    {"loss list", "[GROUP]", "list what PostgreSQL groups have lost, or may have",
     "An item for each time that a node wrote what the history that goes on has not: after a "
     "failover\n"
     "without the consent of the primary. `recovery pending` until that one comes back and was "
     "looked at.",
     "fulmar loss list ledger", ASK_OPTIONS | FM_OPT_BIT(WATCH), 1, fm_cmd_loss_list},
    {"loss show", "ITEM", "show one of them: how many transactions, of when, and their rows",
     "Exit code 2 where there is no such item.", "fulmar loss show ledger:west-db-1:1:0-5000148",
     ASK_OPTIONS | FM_OPT_BIT(WATCH), 1, fm_cmd_loss_show},
    {"loss write-off", "ITEM --confirm ITEM --reason TEXT",
     "say that nobody has to look for what was lost any more",
     "For good; --confirm is the item once more. What only an old primary had is thrown away "
     "without\n"
     "another look when its item is written off before it was looked at.",
     "fulmar loss write-off ledger:west-db-1:1:0-5000148 --dry-run",
     ASK_OPTIONS | FM_OPT_BIT(REASON) | FM_OPT_BIT(DRY_RUN) | FM_OPT_BIT(CONFIRM), 1,
     fm_cmd_loss_write_off},
    {"events", "", "list what happened: who decided what, why, and on which evidence",
     "Of the agent that answers. With -f it goes on, also with another agent when that one goes;\n"
     "with -o json a line each. The newest 50, unless --limit or --since say otherwise.",
     "fulmar events -f --since 1h",
     ASK_OPTIONS | FM_OPT_BIT(FOLLOW) | FM_OPT_BIT(SINCE) | FM_OPT_BIT(LIMIT), 0, fm_cmd_events},
    {"why", "WHAT", "say why something is as it is: its state, its orders, its events",
     "WHAT is a context, a region, a cell such as cards/17, or an operation. Each agent records "
     "what "
     "it\n"
     "saw and did itself. Exit code 2 where nothing is recorded of it.",
     "fulmar why ledger", ASK_OPTIONS | FM_OPT_BIT(WATCH), 1, fm_cmd_why},
    {"journal list", "[CONTEXT]", "list the commands that a region accepted, the newest first",
     "Reads the journal of this host beside its daemon, or the one of --file, and changes "
     "nothing.\n"
     "A state is queued (it waits to be delivered), in-flight (no outcome yet), unknown (it may "
     "or\n"
     "may not have been executed, and is not repeated) or done. Exit code 69 where there is none.",
     "fulmar journal list ledger --state unknown",
     JOURNAL_OPTIONS | FM_OPT_BIT(STATE) | FM_OPT_BIT(LIMIT), 1, fm_cmd_journal_list},
    {"journal show", "CONTEXT KEY", "show one command by its key, with the answer that is repeated",
     "Exit code 2 where the journal has no such key (any more).",
     "fulmar journal show ledger 8e03978e-40d5-43dd-bc93-6894a57f9324", JOURNAL_OPTIONS, 2,
     fm_cmd_journal_show},
    {"version", "", "print the version, as --version does behind any command", NULL,
     "fulmar version", 0, 0, fm_cmd_version},
    {"help", "[COMMAND]", "explain a command", NULL, "fulmar help demo", 0, 2, fm_cmd_help},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
