/* http/server_answer.h: answers made here; private to src/http. */
#ifndef FM_HTTP_SERVER_ANSWER_H
#define FM_HTTP_SERVER_ANSWER_H

struct fm_http_conn;
void fm_http_conn_free_answer(struct fm_http_conn *c);

#endif
