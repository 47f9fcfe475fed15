/* Tickets and parcels: one way to write each, and nothing else is read. */
#include "test.h"

#include "base/buf.h"
#include "proxy/queued.h"

static char mem[512];

static const struct fm_ticket ticket = {FM_STR_INIT("north-2"), 17, UINT64_C(0x00f3a9c2d4e5b687)};

static void a_ticket_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_ticket_write(&b, &ticket);
    assert_str(fm_buf_str(&b), "north-2/17-00f3a9c2d4e5b687");
    struct fm_ticket t;
    assert_true(fm_ticket_read(fm_buf_str(&b), &t));
    assert_str(t.region, "north-2");
    assert_int_equal(t.number, 17);
    assert_true(t.token == ticket.token);
    uint64_t first = 1;
    b.n = 0;
    fm_delivery_write(&b, &ticket, 42);
    assert_str(fm_buf_str(&b), "north-2/17-00f3a9c2d4e5b687@42");
    assert_true(fm_delivery_read(fm_buf_str(&b), &t, &first));
    assert_int_equal(first, 42);
    assert_false(fm_ticket_read(fm_buf_str(&b), &t));
}

static void what_is_no_ticket_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "north",
        "north/",
        "north/17",
        "north/17-",
        "north/-00f3a9c2d4e5b687",
        "north/0-00f3a9c2d4e5b687",
        "north/017-00f3a9c2d4e5b687",
        "north/+17-00f3a9c2d4e5b687",
        "north/17-00F3A9C2D4E5B687",
        "north/17-0f3a9c2d4e5b687",
        "north/17-000f3a9c2d4e5b687",
        "north/18446744073709551616-00f3a9c2d4e5b687",
        "North/17-00f3a9c2d4e5b687",
        "/17-00f3a9c2d4e5b687",
        "a/b/17-00f3a9c2d4e5b687",
        "north/17-00f3a9c2d4e5b687/",
        " north/17-00f3a9c2d4e5b687",
        "a234567890123456789012345678901234567890123456789012345678901234/1-00f3a9c2d4e5b687",
    };
    struct fm_ticket t;
    uint64_t first;
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (fm_ticket_read(fm_str_z(bad[i]), &t))
            fail_msg("%s was taken", bad[i]);
    static const char *const no_delivery[] = {"",
                                              "@",
                                              "north/17-00f3a9c2d4e5b687",
                                              "north/17-00f3a9c2d4e5b687@",
                                              "north/17-00f3a9c2d4e5b687@-1",
                                              "north/17-00f3a9c2d4e5b687@9223372036854775808",
                                              "north/17-00f3a9c2d4e5b687@1@2"};
    for (size_t i = 0; i < FM_COUNT(no_delivery); i++)
        if (fm_delivery_read(fm_str_z(no_delivery[i]), &t, &first))
            fail_msg("%s was taken", no_delivery[i]);
}

static void the_longest_has_its_room(void **state)
{
    (void)state;
    char region[FM_TICKET_REGION_MAX];
    memset(region, 'a', sizeof region);
    struct fm_ticket t = {fm_str(region, sizeof region), UINT64_MAX, UINT64_MAX}, back;
    struct fm_buf b = fm_buf(mem, FM_TICKET_LEN_MAX);
    fm_ticket_write(&b, &t);
    assert_false(b.full);
    assert_int_equal(b.n, FM_TICKET_LEN_MAX);
    assert_true(fm_ticket_read(fm_buf_str(&b), &back));
    assert_true(back.number == UINT64_MAX && back.token == UINT64_MAX);
}

static const char *json(enum fm_ticket_state state, unsigned status)
{
    struct fm_buf b = fm_buf(mem, sizeof mem - 1);
    fm_ticket_json(&b, &ticket, state, status);
    mem[b.n] = 0;
    return mem;
}

#define DOC(state, status)                                                                         \
    "{\"schema\":\"fulmar.queue/1\",\"id\":\"north-2/17-00f3a9c2d4e5b687\",\"state\":\"" state     \
    "\",\"status\":" status                                                                        \
    ",\"location\":\"/.well-known/fulmar/queue/north-2/17-00f3a9c2d4e5b687\"}\n"

static void its_state_is_a_document(void **state)
{
    (void)state;
    assert_string_equal(json(FM_TICKET_WAITS, 0), DOC("waiting", "null"));
    assert_string_equal(json(FM_TICKET_BEING_DELIVERED, 0), DOC("delivering", "null"));
    assert_string_equal(json(FM_TICKET_OVER, 201), DOC("delivered", "201"));
    assert_string_equal(json(FM_TICKET_OVER, 1), DOC("delivered", "null"));
    assert_string_equal(json(FM_TICKET_OVER, 0), DOC("unknown", "null"));
}

static void a_parcel_is_read_as_it_was_packed(void **state)
{
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\n";
    for (int key = 0; key < 2; key++) {
        struct fm_buf b = fm_buf(mem, sizeof mem);
        fm_parcel_begin(&b, key, sizeof head - 1);
        fm_buf_lit(&b, "POST / HTTP/1.1\r\nHost: h\r\n");
        fm_buf_lit(&b, "body");
        struct fm_parcel p;
        assert_true(fm_parcel_read(fm_buf_str(&b), &p));
        assert_int_equal(p.client_key, key);
        assert_str(p.head, head);
        assert_str(p.body, "body");
        for (size_t n = 0; n < FM_PARCEL_PREFIX + sizeof head - 1; n++) /* cut off */
            assert_false(fm_parcel_read(fm_str(mem, n), &p));
        assert_true(fm_parcel_read(fm_str(mem, b.n - 4), &p)); /* without a body */
        assert_int_equal(p.body.n, 0);
        for (size_t i = 0; i < 4; i++) { /* of another version, or damaged */
            mem[i] ^= 4;
            assert_false(fm_parcel_read(fm_buf_str(&b), &p));
            mem[i] ^= 4;
        }
        mem[4]--; /* the head does not end with a line */
        assert_false(fm_parcel_read(fm_buf_str(&b), &p));
    }
}

FM_TEST_MAIN(fm_test(a_ticket_is_read_as_it_was_written), fm_test(what_is_no_ticket_is_refused),
             fm_test(the_longest_has_its_room), fm_test(its_state_is_a_document),
             fm_test(a_parcel_is_read_as_it_was_packed))
