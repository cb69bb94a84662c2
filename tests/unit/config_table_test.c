/* SPDX-License-Identifier: Apache-2.0 */
/* The table itself, and that the two files in config/ agree with it. CONFIG_DIR is that folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

#include "config_fixture.h"
#include "config_internal.h"

static void rows_are_unique_and_complete(void **state)
{
        (void)state;
        for (size_t i = 0; i < config_n_keys; i++) {
                const struct config_key *k = &config_keys[i];
                char full[64];
                snprintf(full, sizeof(full), "%s.%s", k->section, k->name);
                assert_string_equal(k->full, full);
                assert_ptr_equal(config_find_key(k->section, k->name), k);
                assert_true(config_is_section(k->section));
                assert_non_null(k->def);
        }
        assert_null(config_find_key("daemon", "path"));
        assert_false(config_is_section("staging "));
}

/* Column R of the table, by hand: what is not here is taken over by a reload. */
static void reload_column(void **state)
{
        (void)state;
        static const char *const restart[] = {"daemon.state_dir", "daemon.socket", "openpgp.homedir",
                "openpgp.passphrase_file", "staging.path", "staging.file_mode", "staging.dir_mode",
                "staging.encrypted_device", "package.passphrase_file"};
        size_t n = 0;
        for (size_t i = 0; i < config_n_keys; i++) {
                bool listed = false;
                for (size_t j = 0; j < ELEMENTSOF(restart); j++)
                        listed |= streq(config_keys[i].full, restart[j]);
                assert_int_equal(config_keys[i].reload, !listed);
                n += listed;
        }
        assert_int_equal(n, ELEMENTSOF(restart));
}

static void suggestions(void **state)
{
        (void)state;
        char buf[64];
        assert_string_equal(
                config_nearest_key("daemon", "poll_intervall", buf, sizeof(buf)), "poll_interval");
        assert_string_equal(config_nearest_key("staging", "pth", buf, sizeof(buf)), "path");
        assert_string_equal(config_nearest_key("daemon", "signers", buf, sizeof(buf)), "[openpgp] signers");
        assert_string_equal(config_nearest_key("daemon", "since", buf, sizeof(buf)), "[package NAME] since");
        assert_null(config_nearest_key("daemon", "xyzzy", buf, sizeof(buf)));
        assert_null(config_nearest_key("daemon", "x", buf, sizeof(buf)));
        assert_string_equal(config_nearest_section("limit"), "limits");
        assert_null(config_nearest_section("gpg"));
}

static char *read_config(const char *name)
{
        _cleanup_free_ char *path = str_printf("%s/%s", CONFIG_DIR, name);
        char *text = NULL;
        size_t len;
        assert_int_equal(read_file_at(AT_FDCWD, path, MIB, &text, &len), 0);
        return text;
}

/* czard.ini.full has a line "#key = default" for each row, in its section, and none for anything else. */
static void the_full_example_is_the_table(void **state)
{
        (void)state;
        _cleanup_free_ char *text = read_config("czard.ini.full");
        char section[64] = "";
        size_t n = 0;
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
                line = strtok_r(NULL, "\n", &save)) {
                assert_true(strlen(line) <= 120);
                line += *line == '#';
                if (*line == '[')
                        assert_int_equal(sscanf(line, "[%63[a-z0-9]", section), 1);
                char *equals = strstr(line, " =");
                if (*line < 'a' || *line > 'z' || !equals || memchr(line, ' ', (size_t)(equals - line)))
                        continue;
                *equals = 0;
                const char *value = equals[2] == ' ' ? equals + 3 : equals + 2;
                const struct config_key *k = config_find_key(section, line);
                if (!k)
                        print_error("[%s] %s\n", section, line);
                assert_non_null(k);
                assert_string_equal(value, k->def);
                n++;
        }
        assert_int_equal(n, config_n_keys);
}

static void the_short_example_is_good(void **state)
{
        (void)state;
        _cleanup_free_ char *text = read_config("czard.ini");
        struct config *c = load_good(text);
        assert_int_equal(c->n_packages, 1);
        assert_int_equal(c->warnings.n, 1);
        assert_non_null(strstr(c->warnings.v[0], "still those of the example"));
        config_free(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rows_are_unique_and_complete),
                cmocka_unit_test(reload_column),
                cmocka_unit_test(suggestions),
                cmocka_unit_test(the_full_example_is_the_table),
                cmocka_unit_test(the_short_example_is_good),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
