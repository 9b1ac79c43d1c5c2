//! The check-list: every rule a router must follow (protocol sheet section 17) has a test by name, and here are those
//! that have no better place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onsip_router::simulator::{Account, Answering, Failure, Request};

use support::condition::SOON;
use support::stage::*;

/// Rule, and what proves it: `area::test`, the area being a module and all below it, `tests::FILE` for this folder.
const PROOFS: &[(u8, &[&str])] = &[
    (
        1,
        &[
            "config::load::the_defaults_are_those_of_the_interface",
            "config::load::the_example_is_valid_and_shows_every_key",
            "xmpp::connector::a_configured_host_is_used_and_only_without_one_the_domain_is_looked_up",
            "tests::tls::the_name_that_the_configuration_asks_for_is_accepted",
        ],
    ),
    (
        2,
        &[
            "tests::tls::a_server_that_offers_no_encryption_gets_no_password",
            "tests::tls::a_certificate_with_another_name_is_no_reason_to_send_a_password",
            "tests::tls::an_unknown_authority_is_not_trusted",
            "config::load::tls_is_off_only_towards_a_literal_of_this_machine",
        ],
    ),
    (
        3,
        &[
            "config::load::the_default_instance_is_the_resource_of_accounts_without_one",
            "tests::links::the_resource_the_server_chose_is_used_everywhere",
            "protocol::stanza::a_subscribe_names_the_full_jid_and_sets_every_option",
        ],
    ),
    (
        4,
        &[
            "protocol::stanza::presence_has_a_priority_above_zero",
            "protocol::stanza::a_ping_is_answered_and_an_unknown_request_refused",
            "protocol::requests::what_waits_too_long_expires_and_nothing_else",
            "tests::links::a_link_that_is_dead_is_noticed_by_a_ping",
        ],
    ),
    (
        5,
        &[
            "protocol::account::the_order_is_connect_authorize_serve",
            "protocol::subscription::the_approval_may_come_before_the_answer_to_subscribe",
        ],
    ),
    (
        6,
        &[
            "protocol::stanza::every_repeated_sip_field_counts",
            "cli::check::connect::a_grant_that_leaves_the_configured_address_out_says_so",
            "tests::rules::one_account_authorized_for_all_gets_the_events_of_every_address",
        ],
    ),
    (
        7,
        &[
            "protocol::authorization::a_grant_is_renewed_before_three_quarters_of_its_time_also_where_that_is_seconds",
            "protocol::authorization::a_failing_renewal_is_tried_again_while_even_a_short_grant_lasts",
            "protocol::authorization::a_lapse_is_seen_when_the_time_is_over",
            "tests::links::an_authorization_that_cannot_be_renewed_lapses_is_shown_and_comes_back",
        ],
    ),
    (
        8,
        &[
            "protocol::authorization::rejected_credentials_are_waited_out_across_sessions_and_a_passing_fault_is_not",
            "protocol::link::rejected_credentials_are_tried_again_after_a_quarter_of_an_hour_and_then_later",
            "tests::links::a_wrong_password_is_refused_tried_rarely_and_nobody_elses_business",
        ],
    ),
    (
        9,
        &[
            "tests::secrets::not_while_all_is_well",
            "tests::secrets::not_where_the_service_echoes_it_in_an_error",
            "protocol::stanza::the_error_is_found_behind_an_echoed_request_and_keeps_no_password",
        ],
    ),
    (
        10,
        &[
            "protocol::stanza::a_list_is_read_whole_and_only_the_exact_full_jid_is_ours",
            "protocol::surplus::nothing_of_another_resource_or_of_the_bare_jid_is_touched",
        ],
    ),
    (
        11,
        &[
            "protocol::subscription::a_first_start_lists_subscribes_waits_for_approval_and_learns_the_subid",
            "protocol::subscription::a_restart_renews_the_remembered_one_and_makes_none",
            "protocol::subscription::of_several_own_ones_the_newest_is_kept_and_the_others_removed_one_at_a_time",
            "protocol::subscription::silence_is_looked_up_then_withdrawn_and_only_then_asked_anew",
        ],
    ),
    (
        12,
        &[
            "protocol::notification::an_approval_needs_no_type_and_no_subid",
            "protocol::subscription::a_lost_approval_message_costs_nothing_but_the_wait",
            "tests::leases::a_request_that_nobody_decides_on_is_taken_back_and_made_again_but_never_twice_at_once",
        ],
    ),
    (
        13,
        &[
            "protocol::subscription::none_while_active_is_looked_up_and_a_new_one_asked_for_within_five_seconds",
            "protocol::subscription::the_echo_of_our_own_removal_of_a_surplus_one_changes_nothing",
            "tests::leases::after_a_revocation_it_is_subscribed_again_on_the_same_connection",
        ],
    ),
    (
        14,
        &[
            "protocol::stanza::a_subscribe_names_the_full_jid_and_sets_every_option",
            "protocol::subscription::renewal_comes_between_half_and_65_per_cent_of_the_lease_and_is_looked_up",
            "protocol::subscription::a_renewal_of_what_is_not_there_succeeds_and_is_found_out",
        ],
    ),
    (15, &["protocol::subscription::an_active_subscription_is_renewed_right_after_the_authorization"]),
    (
        16,
        &[
            "protocol::subscription::the_limit_of_ten_is_denied_and_tried_slowly",
            "tests::leases::where_others_use_up_the_limit_the_subscription_is_denied_and_they_stay",
            "tests::subscriptions::without_a_ledger_the_newest_own_one_is_kept_and_no_other_resource_is_touched",
        ],
    ),
    (
        17,
        &[
            "protocol::subscription::five_hops_are_followed_and_the_sixth_is_denied",
            "protocol::subscription::renewals_and_removals_go_where_the_redirect_led",
            "protocol::subscription::a_redirect_is_followed_on_the_same_service_only",
        ],
    ),
    (
        18,
        &[
            "protocol::admission::only_a_service_of_the_account_is_believed",
            "protocol::admission::only_our_own_full_jid_is_ours",
            "tests::admission::a_stranger_is_not_believed",
            "tests::admission::a_message_to_anybody_but_our_full_jid_is_foreign",
        ],
    ),
    (
        19,
        &[
            "protocol::notification::every_item_and_retract_is_read_in_order",
            "protocol::notification::headers_may_come_first_or_last",
            "protocol::notification::a_bad_item_does_not_cost_its_neighbours",
            "protocol::notification::never_panics_and_never_costs_a_good_neighbour",
            "tests::admission::a_stanza_that_is_too_large_or_too_deep_costs_neither_the_account_nor_the_connection",
        ],
    ),
    (
        20,
        &[
            "protocol::legs::every_key_stands_in_every_call_event",
            "tests::events::every_line_of_every_service_follows_the_printed_schema",
        ],
    ),
    (
        21,
        &[
            "protocol::legs::any_interleaving_over_two_accounts_gives_the_same_events_once_each_in_dense_sequence",
            "tests::events::an_event_that_two_accounts_see_is_delivered_once",
        ],
    ),
    (
        22,
        &[
            "protocol::legs::an_outgoing_call_is_created_confirmed_and_ended_with_its_times",
            "protocol::legs::what_a_later_state_leaves_out_is_remembered_to_the_end",
            "protocol::legs::a_retract_of_an_unknown_leg_is_told_once",
        ],
    ),
    (
        23,
        &[
            "protocol::legs::a_call_is_its_call_id_and_from_tag_within_the_sip_domain",
            "protocol::legs::of_several_ringing_phones_the_silent_ones_were_answered_elsewhere",
        ],
    ),
    (24, &["tests::resync::set_up_legs_and_music_on_hold_can_be_left_out_by_a_rule"]),
    (
        25,
        &[
            "protocol::legs::only_what_a_query_may_not_hold_is_escaped_in_the_source",
            "protocol::legs::the_id_depends_on_nothing_but_what_the_publisher_said",
        ],
    ),
    (
        26,
        &[
            "tests::restart::a_call_goes_on_where_it_was_and_an_event_seen_before_stays_seen",
            "tests::store::legs_and_calls_are_recalled_as_they_were_last_written",
        ],
    ),
    (
        27,
        &[
            "protocol::backoff::full_jitter_stays_below_a_doubling_cap",
            "protocol::link::after_a_conflict_nothing_is_tried_for_ten_seconds",
            "protocol::link::another_host_is_followed_a_few_times_and_then_waited_for",
            "tests::links::fifty_accounts_come_back_after_a_restart_of_the_service_without_a_second_subscription",
        ],
    ),
    (
        28,
        &[
            "protocol::legs::replayed_means_a_delay_stamp_or_a_publish_time_more_than_a_minute_old",
            "tests::events::what_is_delayed_or_old_is_marked_as_replayed",
        ],
    ),
    (
        29,
        &[
            "protocol::notification::a_returned_message_tells_nothing",
            "tests::faults::an_ordeal_leaves_one_subscription_each_and_every_event_told_once",
        ],
    ),
    (
        30,
        &[
            "tests::rules::a_sink_that_hangs_makes_no_ping_late_and_holds_up_no_other_sink",
            "tests::events::a_sink_that_is_down_holds_up_no_other_and_gets_everything_later",
        ],
    ),
    (
        31,
        &[
            "protocol::subscription::an_active_one_is_removed_by_its_subid_and_the_memory_holds_none_any_more",
            "tests::shutdown::a_clean_stop_closes_the_streams_and_keeps_the_subscriptions",
            "tests::shutdown::a_clean_stop_unsubscribes_where_that_is_wanted_and_the_ledger_forgets_it",
            "tests::shutdown::a_service_that_does_not_answer_an_unsubscribe_holds_up_no_stop",
        ],
    ),
    (
        32,
        &[
            "tests::rules::every_account_has_its_series_and_failed_renewals_show_as_age_while_all_looks_well",
            "metrics::the_oldest_renewal_is_that_of_a_subscription_that_delivers",
        ],
    ),
    (
        33,
        &[
            "tests::rules::one_account_authorized_for_all_gets_the_events_of_every_address",
            "tests::rules::one_jid_may_watch_several_nodes_and_an_event_seen_by_two_of_them_is_one",
            "tests::events::an_event_that_two_accounts_see_is_delivered_once",
        ],
    ),
    (
        34,
        &[
            "tests::resumption::a_connection_that_is_cut_under_traffic_costs_no_event_no_gap_and_no_new_beginning",
            "tests::resumption::what_is_not_on_the_disk_is_not_acknowledged_and_survives_the_end_of_the_router_at_the_service",
            "tests::resumption::a_service_that_forgot_the_session_is_a_new_beginning_with_a_gap_and_the_old_subscription",
        ],
    ),
];

#[test]
fn every_rule_has_a_test_that_exists() {
    let tests = tests();
    let listed: Vec<_> = PROOFS.iter().map(|(rule, _)| *rule).collect();
    let rules: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!((rules, listed.len()), ((1..=34).collect(), 34), "each of the 34 rules stands here once");
    let missing: Vec<_> = PROOFS
        .iter()
        .flat_map(|(rule, proofs)| proofs.iter().map(move |proof| (rule, proof)))
        .filter(|(_, proof)| !stands(proof, &tests))
        .map(|(rule, proof)| format!("rule {rule}: {proof}"))
        .collect();
    assert!(PROOFS.iter().all(|(_, proofs)| !proofs.is_empty()) && missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_test_that_is_gone_or_elsewhere_is_noticed() {
    let tests = tests();
    assert!(stands("tests::rules::every_rule_has_a_test_that_exists", &tests));
    assert!(!stands("tests::rules::no_such_test", &tests));
    assert!(!stands("tests::leases::every_rule_has_a_test_that_exists", &tests));
    assert!(!stands("tests::rules::stands", &tests), "a function that is no test");
}

/// Whether a test of this name is in this area.
fn stands(proof: &str, tests: &BTreeSet<(String, String)>) -> bool {
    let (area, name) = proof.rsplit_once("::").unwrap();
    let within = |module: &str| module == area || module.strip_prefix(area).is_some_and(|rest| rest.starts_with("::"));
    tests.iter().any(|(module, test)| test == name && within(module))
}

/// Module path and name of every test.
fn tests() -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for (folder, prefix) in [("src", ""), ("tests", "tests::")] {
        let folder = root.join(folder);
        for file in sources(&folder) {
            let inner = file.strip_prefix(&folder).unwrap().with_extension("");
            let parts: Vec<_> = inner.iter().map(|part| part.to_str().unwrap()).collect();
            let module = format!("{prefix}{}", parts.join("::"));
            let text = fs::read_to_string(&file).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let attribute = line.starts_with("#[");
                is_test |= attribute && (line.contains("test]") || line.contains("test("));
                let function = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
                if let Some(function) = function
                    && std::mem::take(&mut is_test)
                {
                    let name = function.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
                    found.insert((module.clone(), name.to_owned()));
                }
            }
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let each = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(each).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

// ---- rule 30 --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_sink_that_hangs_makes_no_ping_late_and_holds_up_no_other_sink() {
    let (onsip, anna) = service_with_anna().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let hanging = format!("type = \"file\"\npath = \"{}\"", pipe.display());
    let setup = Setup::of(&onsip).xmpp("ping_interval = \"1s\"\nrequest_timeout = \"10s\"");
    let daemon = setup.account("anna", &anna).sink("hanging", &hanging).start_active(1).await;
    for _ in 0..100 {
        let mut call = onsip.call_in(anna.as_str(), CALLER, 1);
        onsip.hang_up(&mut call);
    }
    daemon.until_calls(200).await;
    let what = "pings while a sink hangs";
    let before = asked(&onsip, &anna, Request::Ping);
    until_observed(&onsip, &daemon, what, SOON, |saw| saw.count(&anna, Request::Ping) >= before + 4).await;
    // A ping that waited for the sink would never have come.
    daemon.until_metric("sink_queue_events", &[("sink", "hanging")], SOON, |queued| queued >= 200.0).await;
    assert_eq!(daemon.count("sink_queue_events", &[("sink", "log")]).await, 0);
    assert_eq!(onsip.observed().connections_ever, 1);
}

// ---- rule 32 --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_account_has_its_series_and_failed_renewals_show_as_age_while_all_looks_well() {
    let (onsip, anna) = service_with_anna().await;
    let bert = account(&onsip, "bert@acme.test");
    let setup = Setup::of(&onsip).onsip("subscription_lease = \"20s\"").account("anna", &anna);
    let daemon = setup.account_with("bert", &bert, "password = \"wrong\"").start_active(1).await;
    daemon.until_accounts("refused", 1).await;
    for (name, online) in [("anna", 1), ("bert", 0)] {
        let of = [("account", name)];
        assert_eq!(daemon.count("account_online", &of).await, online);
        assert_eq!(daemon.count("account_authorized_until_timestamp_seconds", &of).await > 0, online == 1);
        assert_eq!(daemon.count("account_last_event_timestamp_seconds", &of).await, 0);
    }
    onsip.call_in(anna.as_str(), CALLER, 1);
    daemon.until_metric("account_last_event_timestamp_seconds", &[("account", "anna")], SOON, |at| at > 0.0).await;
    let subscription = daemon.json("/api/v1/subscriptions").await[0].clone();
    for key in ["subid", "lease_until", "renewed"] {
        assert!(subscription[key].is_string(), "{key} in {subscription:#}");
    }

    let renewed = daemon.count("subscription_oldest_renewal_timestamp_seconds", &[SERVICE]).await;
    let due = daemon.count("subscription_renewal_due_timestamp_seconds", &[SERVICE]).await;
    assert!(0 < renewed && renewed < due);
    onsip.behave(&anna, |b| b.options = Answering::Fail(Failure::new("wait", "internal-server-error")));
    onsip.end_leases(&anna);
    // Nothing says so, but the age grows: what was last renewed is as old as before, what is due stays due, and it goes on
    // looking active.
    daemon.until_count("subscription_renewals_total", &[SERVICE, ("outcome", "failed")], 1).await;
    assert_eq!(daemon.count("subscription_oldest_renewal_timestamp_seconds", &[SERVICE]).await, renewed);
    assert_eq!(daemon.count("subscription_renewal_due_timestamp_seconds", &[SERVICE]).await, due);
    assert_eq!(daemon.count("account_online", &[("account", "anna")]).await, 1);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus/rules.yml");
    let rules = fs::read_to_string(rules).unwrap();
    assert!(
        rules.contains("time() - (onsip_router_subscription_renewal_due_timestamp_seconds > 0)"),
        "told to operators"
    );
}

// ---- rule 33 --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn one_account_authorized_for_all_gets_the_events_of_every_address() {
    let onsip = service().await;
    let desk = Account::new("desk@acme.test", PASSWORD).unwrap().owning("sales@acme.test").owning("help@beta.test");
    let jid = desk.jid.clone();
    onsip.add(desk);
    let lines = format!("password = \"{PASSWORD}\"\nauth_for_all = true");
    let daemon = Setup::of(&onsip).account_with("desk", &jid, &lines).start_active(1).await;
    for address in ["desk@acme.test", "sales@acme.test", "help@beta.test"] {
        let mut call = onsip.call_in(address, CALLER, 1);
        onsip.hang_up(&mut call);
    }
    let events = daemon.until_calls(6).await;
    let leaves: BTreeSet<_> = events.iter().map(|event| event["data"]["node"].as_str().unwrap()).collect();
    assert_eq!(leaves, ["/acme.test/desk", "/acme.test/sales", "/beta.test/help"].into());
    assert_eq!(onsip.observed().connections_ever, 1);
}

#[tokio::test]
async fn one_jid_may_watch_several_nodes_and_an_event_seen_by_two_of_them_is_one() {
    let onsip = service().await;
    let desk = Account::new("desk@acme.test", PASSWORD).unwrap().owning("sales@acme.test");
    let jid = desk.jid.clone();
    onsip.add(desk);
    let nodes = "active-calls = [\"/me/desk@acme.test\", \"/acme.test/sales\"]\nuser-agents = [\"/me/desk@acme.test\"]";
    let lines = format!("password = \"{PASSWORD}\"\nauth_for_all = true\n[accounts.desk.subscribe]\n{nodes}");
    let daemon = Setup::of(&onsip).account_with("desk", &jid, &lines).start_active(2).await;
    let mut call = onsip.call_in("sales@acme.test", CALLER, 1);
    onsip.hang_up(&mut call);
    let mut other = onsip.call_in("desk@acme.test", CALLER, 1);
    onsip.hang_up(&mut other);
    let events = daemon.until_calls(4).await;
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), events.len()), (4, 4), "{events:#?}");
    // The service names both subscriptions in one message.
    let seen_twice = events.iter().filter(|event| event["data"]["subids"].as_array().unwrap().len() == 2);
    assert!(seen_twice.count() >= 1, "{events:#?}");
}
