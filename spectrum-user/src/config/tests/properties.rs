//! Whatever the file holds, there is an answer.

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/spectrum.example.toml");

/// Lines that are nearly right, in any order and number.
fn line() -> impl Strategy<Value = String> {
    let keys = [
        "interfaces",
        "xdp_mode",
        "workers",
        "drain",
        "pools",
        "listen",
        "file",
        "name",
        "id",
        "protocol",
        "dns",
        "edge_ips",
        "origin_direct",
        "origin_dns",
        "ip_firewall",
        "proxy_protocol",
        "extensions.proxy_tlvs",
        "tls",
        "spp",
        "extensions",
        "mode",
        "configuration",
        "zone",
        "dns.name",
        "edge_ips.ips",
        "configuration.value",
        "geo",
        "\"\"",
        "é",
    ];
    let values = [
        "1",
        "-1",
        "99999999999999999999999999",
        "0x10",
        "1.5",
        "true",
        "[]",
        "{}",
        "[[]]",
        "\"\"",
        "\"tcp/22\"",
        "\"tcp/1-65535\"",
        "[\"tcp://192.0.2.1:22\"]",
        "\"CNAME\"",
        "[\"198.51.100.0/24\"]",
        "[\"::/0\", \"::1/128\", 1]",
        "{ type = \"static\" }",
        "{ type = \"ADDRESS\", name = \"a.b\" }",
        "{ type = \"dynamic\", connectivity = \"all\" }",
        "\"5s\"",
        "1979-05-27",
        "\"é\\u0000\"",
        "{ target = \"ip_range\", value = \"10.1.2.3/8\" }",
        "\"block\"",
        "'''\n\n'''",
    ];
    let headers = [
        "[node]",
        "[edge]",
        "[api]",
        "[metrics]",
        "[events]",
        "[[zones]]",
        "[[applications]]",
        "[[access_rules]]",
        "[tls]",
    ];
    prop_oneof![
        1 => proptest::sample::select(headers.to_vec()).prop_map(str::to_owned).boxed(),
        4 => (proptest::sample::select(keys.to_vec()), proptest::sample::select(values.to_vec()))
            .prop_map(|(key, value)| format!("{key} = {value}")).boxed(),
    ]
}

fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(errors) = parse(text, "t") {
        let lines = text.split('\n').count();
        for found in errors.as_slice() {
            let line = found.line.unwrap_or_default();
            prop_assert!(line >= 1 && line <= lines, "line {line} of {lines}");
            prop_assert!(found.column.unwrap_or_default() >= 1);
            prop_assert!(!found.message.is_empty());
        }
        prop_assert!(!errors.as_slice().is_empty());
        prop_assert!(!errors.to_string().is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_lines_have_an_answer(lines in proptest::collection::vec(line(), 0..40)) {
        check(&lines.join("\n"))?;
    }

    #[test]
    fn any_edit_of_the_example_has_an_answer(at in 0..EXAMPLE.len(), removed in 0..40_usize, put in "[ -~\n]{0,5}") {
        prop_assume!(EXAMPLE.is_ascii());
        let end = (at + removed).min(EXAMPLE.len());
        check(&format!("{}{put}{}", &EXAMPLE[..at], &EXAMPLE[end..]))?;
    }
}
