/* The table of commands. A command exists from the day it works. */
#include "cli/cli.h"

#define DAEMON_OPTIONS (FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST))

#define JOURNAL_OPTIONS                                                                            \
    (FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(FILE) | FM_OPT_BIT(OUTPUT))

const struct fm_command fm_commands[] = {
    {"demo", "[bank]", "watch a region die under live traffic, and nobody notice",
     "Starts two regions on this machine (an agent and two instances of a sample application "
     "each)\n"
     "and an edge in front, sends queries and commands at a constant rate, then kills a region,\n"
     "freezes one, and breaks one dependency, and measures from the clients' side what they "
     "noticed.\n"
     "Needs no root; everything lives in a temporary folder and is cleaned up, also on Ctrl-C.\n"
     "Exit code 2 if an objective was missed.",
     "fulmar demo --scenario kill --rate 2000",
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
    {"coordination status", "",
     "ask whether regions can agree: the store, its endpoints, its stamp",
     "Reads the store of `coordination` itself, not through a daemon, and writes nothing.\n"
     "Exit code 0 where a linearizable read succeeds; 2 where the store is another service's;\n"
     "69 if nobody answered; 75 if somebody did, but there is no quorum; 77 if it lets us not in.",
     "fulmar coordination status -c fulmar.yaml",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(OUTPUT) | FM_OPT_BIT(TIMEOUT), 0,
     fm_cmd_coordination_status},
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
    {"status", "[REGION|CONTEXT]",
     "show what an edge or agent sees: intent, health, why, since when",
     "Asks the daemon of this host through its local socket, or another one with --server.\n"
     "Exit code 0 if anyone answered; with --check 2 unless every region is well; 69 if nobody\n"
     "answered.",
     "fulmar status -c fulmar.yaml",
     FM_OPT_BIT(CONFIG) | FM_OPT_BIT(HOST) | FM_OPT_BIT(SERVER) | FM_OPT_BIT(OUTPUT) |
         FM_OPT_BIT(WATCH) | FM_OPT_BIT(CHECK) | FM_OPT_BIT(COLOR) | FM_OPT_BIT(TIMEOUT),
     1, fm_cmd_status},
    {"journal list", "[CONTEXT]", "list the commands that a region accepted, the newest first",
     "Reads the journal of this host beside its daemon, or the one of --file, and changes "
     "nothing.\n"
     "A state is queued (it waits to be delivered), in-flight (no outcome yet), unknown (it may "
     "or\n"
     "may not have been executed, and is not repeated) or done. Exit code 69 where there is none.\n"
     "Gates of this version do not write one yet.",
     "fulmar journal list ledger --state unknown",
     JOURNAL_OPTIONS | FM_OPT_BIT(STATE) | FM_OPT_BIT(LIMIT), 1, fm_cmd_journal_list},
    {"journal show", "CONTEXT KEY", "show one command by its key, with the answer that is repeated",
     "Exit code 2 where the journal has no such key (any more).",
     "fulmar journal show ledger 8e03978e-40d5-43dd-bc93-6894a57f9324", JOURNAL_OPTIONS, 2,
     fm_cmd_journal_show},
    {"help", "[COMMAND]", "explain a command", NULL, "fulmar help demo", 0, 2, fm_cmd_help},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
