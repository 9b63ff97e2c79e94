/*
 * mod_privacy: the gate in httpd. This file is the map: which hook does what, in the order of a
 * request's life.
 */
#include "mod_privacy.h"

#include "http_protocol.h"

static void register_hooks(apr_pool_t *p)
{
    static const char *const before_cache[] = {"mod_cache.c", NULL};

    /* configuration and processes */
    ap_hook_check_config(prv_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(prv_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(prv_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    prv_authz_register(p);
    prv_output_register();
    prv_interim_register();

    /* Spoofed fields go before anybody reads them; what mod_headers did early counts as the
     * client's own. */
    ap_hook_post_read_request(prv_post_read_first, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_post_read_request(prv_post_read_last, NULL, NULL, APR_HOOK_REALLY_LAST);

    /* An endpoint's location is virtual: no mapping, no file, no .htaccess. */
    ap_hook_translate_name(prv_translate, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_map_to_storage(prv_map_to_storage, NULL, NULL, APR_HOOK_REALLY_FIRST);

    /* Variables early for SetEnvIf and Require env; the gate late, when others have told the
     * region. */
    ap_hook_header_parser(prv_header_parser_first, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_header_parser(prv_header_parser_last, NULL, NULL, APR_HOOK_REALLY_LAST);

    /* Subrequests meet the gate here; mod_dir changes the location between the two. */
    ap_hook_fixups(prv_fixups_first, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(prv_fixups_last, NULL, NULL, APR_HOOK_REALLY_LAST);

    ap_hook_handler(prv_handler, NULL, before_cache, APR_HOOK_REALLY_FIRST);

    ap_hook_insert_filter(prv_insert_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_insert_error_filter(prv_insert_error_filter, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_log_transaction(prv_log_transaction, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

module AP_MODULE_DECLARE_DATA privacy_module = {
    STANDARD20_MODULE_STUFF, prv_dir_create, prv_dir_merge,  prv_server_create,
    prv_server_merge,        prv_commands,   register_hooks, 0};
