#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn guard(allowed: &[&str], trusted: &[&str]) -> Guard {
    Guard::new(
        allowed.iter().map(|net| net.parse().unwrap()).collect(),
        trusted.iter().map(|host| (*host).to_owned()).collect(),
    )
}

#[test]
fn every_spelling_of_an_inner_address_is_refused() {
    let guard = guard(&[], &[]);
    for url in [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/metadata",
        "http://100.100.100.200/latest/meta-data/",
        "http://192.0.0.192/opc/v2/",
        "http://0.0.0.0/",
        "http://0x7f.0.0.1/",
        "http://0177.1/",
        "http://017700000001/",
        "http://127.0.1/",
        "http://127.0.0.1./",
        "http://\u{ff11}27.0.0.1/",
        "http://127\u{3002}0\u{3002}0\u{3002}1/",
        "http://%31%32%37.0.0.1/",
        "http://good@127.0.0.1/",
        "http://good.example:80@127.0.0.1/",
        "http://127.0.0.1\\@good.example/",
        "http://[::]/",
        "http://[0:0:0:0:0:ffff:0:0]/",
        "http://[::ffff:0:127.0.0.1]/",
        "http://[2001:0:7f00:1::]/",
        "http://[fec0::1]/",
        "http://[fd20:ce::254]/",
        "http://[64:ff9b:1::7f00:1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[ff02::1]/",
        "http://10.1.2.3/",
        "http://100.64.0.1/",
        "http://172.31.255.255/",
        "http://192.168.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "data:text/plain,x",
    ] {
        assert!(guard.check_url(&url.parse().unwrap()).is_err(), "{url} was let through");
    }
}

#[test]
fn public_addresses_and_names_pass() {
    let guard = guard(&[], &[]);
    for url in
        ["http://8.8.8.8/", "https://[2606:4700::1111]/", "http://[::ffff:8.8.8.8]/", "https://example.com/x"]
    {
        assert_eq!(guard.check_url(&url.parse().unwrap()), Ok(()), "{url}");
    }
}

#[test]
fn the_allow_list_opens_its_range_only() {
    let guard = guard(&["10.1.0.0/16"], &[]);
    assert!(guard.check_url(&"http://10.1.2.3/".parse().unwrap()).is_ok());
    assert!(guard.check_url(&"http://[::ffff:10.1.2.3]/".parse().unwrap()).is_ok());
    assert!(guard.check_url(&"http://10.2.2.3/".parse().unwrap()).is_err());
}

#[test]
fn trust_is_by_host_or_by_host_and_port() {
    let guard = guard(&[], &["n8n.internal", "127.0.0.1:5678"]);
    assert!(guard.trusts(&"http://N8N.internal:99/x".parse().unwrap()));
    assert!(guard.trusts(&"http://127.0.0.1:5678/x".parse().unwrap()));
    assert!(!guard.trusts(&"http://127.0.0.1:5679/x".parse().unwrap()));
    assert!(!guard.trusts(&"http://evil.n8n.internal/x".parse().unwrap()));
}

#[test]
fn a_name_keeps_its_public_addresses_and_is_refused_without_any() {
    let guard = guard(&[], &[]);
    let inner: SocketAddr = "10.0.0.1:0".parse().unwrap();
    let outer: SocketAddr = "8.8.8.8:0".parse().unwrap();
    assert_eq!(guard.keep_permitted("h", vec![inner, outer]), Ok(vec![outer]));
    assert_eq!(
        guard.keep_permitted("h", vec![inner]),
        Err(Refused::Address { host: "h".to_owned(), address: inner.ip() })
    );
}

#[test]
fn a_zone_is_no_part_of_a_url() {
    for url in
        ["http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1%25lo]/", "http://127.0.0.1%00.a/"]
    {
        assert!(url.parse::<Url>().is_err(), "{url}");
    }
}

#[test]
fn a_login_in_a_url_is_refused_and_not_repeated() {
    let guard = guard(&[], &[]);
    for url in ["http://user:hunter2@example.com/", "https://hunter2@example.com/x?key=hunter2"] {
        let refused = guard.check_url(&url.parse().unwrap()).unwrap_err();
        assert!(matches!(refused, Refused::Login { .. }), "{refused:?}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}

#[test]
fn trust_is_not_lent_by_what_only_looks_like_the_host() {
    let guard = guard(&[], &["n8n.internal", "10.0.0.5:5678", "[fd00::5]:5678"]);
    for url in [
        "http://n8n.internal./x",
        "http://n8n.internal@127.0.0.1/",
        "http://n8n.internal.evil.example/",
        "http://evil.example/n8n.internal",
        "http://evil.example#n8n.internal",
        "http://10.0.0.5/",
        "http://[fd00::5]/",
    ] {
        assert!(!guard.trusts(&url.parse().unwrap()), "{url}");
    }
    assert!(guard.trusts(&"http://[fd00::5]:5678/x".parse().unwrap()));
    assert!(guard.trusts(&"http://0xa000005:5678/x".parse().unwrap()), "it is the same address");
}

fn own(trusted: &[&str], own: &[&str]) -> Guard {
    guard(&[], trusted).with_own(own.iter().map(|url| url.parse().unwrap()).collect())
}

fn is_refused_path(guard: &Guard, url: &str) -> bool {
    matches!(guard.check_text(&url.parse().unwrap()), Err(Refused::Path { .. }))
}

#[test]
fn of_the_operators_own_hosts_only_what_lies_below_his_urls_is_taken() {
    let guard = own(
        &["n8n:5678", "n8n:443", "10.0.0.5"],
        &["http://n8n:5678/webhook/", "http://n8n:5678/special/hook", "https://n8n/webhook/"],
    );
    for taken in [
        "http://n8n:5678/webhook/a",
        "http://n8n:5678/webhook/a/b?rest=/rest/",
        "http://N8N:5678/x/../webhook/a",
        "http://n8n:5678/special/hook",
        "https://n8n/webhook/a",
        // Another scheme is the same listener; whether it answers is another matter.
        "http://n8n:443/webhook/a",
        // A host of which the operator says nothing but that it may be anywhere.
        "http://10.0.0.5/rest/anything",
    ] {
        assert_eq!(guard.check_text(&taken.parse().unwrap()), Ok(()), "{taken}");
    }
    for refused in [
        "http://n8n:5678/",
        "http://n8n:5678/rest/workflows",
        "http://n8n:5678/webhook",
        "http://n8n:5678/webhook/../rest/workflows",
        "http://n8n:5678/webhook/.%2e/rest/workflows",
        "http://n8n:5678/webhook/%2E%2E/rest/workflows",
        "http://n8n:5678/webhook\\..\\rest",
        "http://n8n:5678/webhook/..%2frest",
        "http://n8n:5678/webhook/..%5Crest",
        "http://n8n:5678/special/other",
        "http://n8n:5678/special/hooks",
        "http://n8n:443/rest/workflows",
        "https://n8n:5678/rest/workflows",
    ] {
        assert!(is_refused_path(&guard, refused), "{refused}");
    }
}

#[test]
fn the_refusal_of_a_path_says_what_may_be_named() {
    let guard = own(&["n8n:5678"], &["http://n8n:5678/webhook/", "http://n8n:5678/special"]);
    let refused = guard.check_text(&"http://n8n:5678/rest/x".parse().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("/webhook/ or /special"), "{refused}");
}
