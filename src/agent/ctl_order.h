/* agent/ctl_order.h: an order of a person before it is an operation. Private to ctl_plan.c, which
 * checks it against the rules, and ctl_ops.c, which writes it down. */
#ifndef FM_AGENT_CTL_ORDER_H
#define FM_AGENT_CTL_ORDER_H

#include "agent/ctl.h"

/* The rule, the evidence and what would make it pass. */
struct ctl_refusal {
    unsigned status; /* 0 = it is none */
    const char *rule, *remedy;
    char evidence[320];
};

struct ctl_order {
    struct fm_controller *ctl;
    json_t *body;
    struct ctl_context *c; /* NULL: it is about none */
    int region, to;        /* -1 = not said */
    int host;              /* DRAIN, UNDRAIN: in the configuration; -1 = it is about none */
    bool dry;
    struct fm_op op;
    struct fm_op_policy policy;   /* READ_ONLY, AUTOMATIC */
    struct ctl_intended intended; /* DRAIN, UNDRAIN */
    struct fm_agreed agreed;      /* CONFIG, ADD, REMOVE */
    bool nothing;                 /* it is so already */
    struct ctl_refusal no;
};

void ctl_refuse(struct ctl_refusal *r, unsigned status, const char *rule, const char *remedy,
                const char *fmt, ...) FM_PRINTF(5, 6);

/* Fills in o->op and o->policy, or o->no. `by`: who it is, where that is known; NULL = as the order
 * says. o->op.item has room for FM_OP_ITEMS_MAX. */
void ctl_plan(struct ctl_order *o, enum fm_op_kind kind, const char *by);
/* A member of the order that is the name of a region; -1 where there is none, false where it is
 * one that is not known. */
bool ctl_take_region(struct ctl_order *o, const char *name, int *out);
/* Which context the order is about, into o->c; false with a refusal. */
bool ctl_take_context(struct ctl_order *o, bool needed);
/* ctl_home.c: the dry run is answered at once or later, by those who would decide the order. */
void ctl_plan_failback(struct ctl_order *o);
void ctl_home_dry(struct ctl_order *o, const struct fm_page_request *q, struct fm_page_answer *a);
/* ctl_ops.c: the answers to orders. `doc` is taken over. */
json_t *ctl_op_doc(const struct fm_controller *ctl, const struct fm_op *o);
void ctl_answer(struct fm_page_answer *a, unsigned status, json_t *doc);
void ctl_answer_refusal(struct fm_page_answer *a, const struct ctl_refusal *r);
/* Another order about a cell of the context is under way: o->no says so. */
bool ctl_order_is_busy(struct ctl_order *o);
/* ctl_node.c. */
void ctl_plan_node(struct ctl_order *o);
/* ctl_member.c. */
void ctl_plan_add(struct ctl_order *o);
void ctl_plan_remove(struct ctl_order *o);
/* ctl_drain.c. */
void ctl_plan_drain(struct ctl_order *o);
void ctl_plan_undrain(struct ctl_order *o);
/* ctl_agreed.c. */
void ctl_plan_config(struct ctl_order *o);
/* What is agreed is to have this node of that group (taken over), or (NULL) not any more: into
 * o->agreed, or o->no. */
void ctl_agreed_plan_node(struct ctl_order *o, const char *group, const char *name, json_t *node);
/* Only what a failover would be about: context, to, and from whom. */
bool ctl_plan_failover(struct ctl_order *o);

static inline const char *ctl_order_text(const struct ctl_order *o, const char *name)
{
    return json_string_value(json_object_get(o->body, name));
}

#endif
