use proptest::prelude::*;

use super::*;

/// Redirect URIs that may be registered, each of another kind.
const REGISTERED: [&str; 8] = [
    "https://app.example/callback",
    "https://app.example/",
    "https://app.example:8443/a/b;c?client=1&x=%20",
    "http://127.0.0.1/callback",
    "http://127.0.0.1:8080/other?x=1",
    "http://[::1]/callback",
    "com.example.app:/oauth2redirect/example-provider",
    "com.example.app://callback/x",
];

/// What an attacker might send in place of one of [`REGISTERED`].
const HOSTILE: [&str; 72] = [
    "",
    " ",
    "https://app.example",
    "https://app.example/callback/",
    "https://app.example/callback?",
    "https://app.example/callback#",
    "https://app.example/callback#x",
    "https://app.example/callback?code=x",
    "https://app.example/Callback",
    "https://app.example/%63allback",
    "https://app.example/callback%00",
    "https://app.example/callback%0d%0aSet-Cookie:%20x=1",
    "https://app.example/callback\r\nSet-Cookie: x=1",
    "https://app.example/callback\0",
    " https://app.example/callback",
    "https://app.example/callback ",
    "\thttps://app.example/callback",
    "https://app.example/callback/../../evil",
    "https://app.example/./callback",
    "https://app.example//callback",
    "https://app.example\\callback",
    "https:\\\\app.example\\callback",
    "https:/app.example/callback",
    "https:app.example/callback",
    "//app.example/callback",
    "/callback",
    "HTTPS://app.example/callback",
    "https://APP.example/callback",
    "https://app.example./callback",
    "https://app.example:443/callback",
    "https://app.example:444/callback",
    "https://app.example:/callback",
    "http://app.example/callback",
    "https://app.example.evil.example/callback",
    "https://evil.example/callback",
    "https://evil.example/https://app.example/callback",
    "https://app.example@evil.example/callback",
    "https://user:pw@app.example/callback",
    "https://evil.example\\@app.example/callback",
    "https://app.ex\u{430}mple/callback",
    "https://app\u{3002}example/callback",
    "https://*.example/callback",
    "https://app.example:8443/a/b;c?client=2&x=%20",
    "https://app.example:8443/a/b;c?x=%20&client=1",
    "https://app.example:8443/a/b;c?client=1&x=+",
    "http://localhost/callback",
    "http://localhost:8080/callback",
    "http://127.0.0.1/callback/",
    "http://127.0.0.1/callback?x=1",
    "http://127.0.0.1:8080/callback#x",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:08080/callback",
    "http://127.0.0.1:65536/callback",
    "http://127.0.0.1:+80/callback",
    "http://127.0.0.1:-1/callback",
    "http://127.0.0.1:/callback",
    "http://127.0.0.1: 80/callback",
    "http://127.0.0.1:80:80/callback",
    "http://127.0.0.1:8080",
    "http://127.0.0.1:8080@evil.example/callback",
    "http://127.0.0.1@evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.11/callback",
    "http://127.1/callback",
    "http://2130706433/callback",
    "http://127.0.0.2:8080/callback",
    "https://127.0.0.1:8080/callback",
    "http://[::1]:8080/other?x=1",
    "http://[0:0:0:0:0:0:0:1]/callback",
    "http://[::ffff:127.0.0.1]/callback",
    "com.example.app:/oauth2redirect/example-provider/x",
    "com.example.app.evil:/oauth2redirect/example-provider",
];

#[test]
fn rfc8252_8_4_1__a_redirect_uri_is_compared_byte_for_byte() {
    for registered in REGISTERED {
        assert_eq!(check_redirect_uri(registered), Ok(()), "{registered}");
        for other in REGISTERED {
            let matches = redirect_uri_matches(registered, other);
            assert_eq!(matches, registered == other, "{registered}: {other}");
        }
        for hostile in HOSTILE {
            let matches = redirect_uri_matches(registered, hostile);
            assert!(!matches, "{registered}: {hostile:?}");
        }
    }
}

#[test]
fn rfc8252_7_3_1__at_a_loopback_address_the_port_is_free() {
    for (registered, sent) in [
        ("http://127.0.0.1/callback", "http://127.0.0.1:1/callback"),
        (
            "http://127.0.0.1/callback",
            "http://127.0.0.1:49152/callback",
        ),
        (
            "http://127.0.0.1/callback",
            "http://127.0.0.1:65535/callback",
        ),
        ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("http://127.0.0.1:8080/a?b=c", "http://127.0.0.1:9090/a?b=c"),
        ("http://[::1]/callback", "http://[::1]:61023/callback"),
        ("http://[::1]:8080/callback", "http://[::1]/callback"),
    ] {
        assert_eq!(check_redirect_uri(registered), Ok(()), "{registered}");
        assert!(
            redirect_uri_matches(registered, sent),
            "{registered}: {sent}"
        );
    }
    // At any other address it is part of what is compared.
    for (registered, sent) in [
        ("https://app.example/cb", "https://app.example:8443/cb"),
        ("https://app.example:8443/cb", "https://app.example/cb"),
        ("http://127.0.0.1/callback", "http://[::1]:8080/callback"),
        ("http://localhost:1/callback", "http://localhost:2/callback"),
        ("com.example.app://h:1/cb", "com.example.app://h:2/cb"),
    ] {
        assert!(
            !redirect_uri_matches(registered, sent),
            "{registered}: {sent}"
        );
    }
}

#[test]
fn rfc8252_8_3_1__localhost_and_other_names_for_this_machine_are_refused() {
    for uri in [
        "http://localhost/callback",
        "http://localhost:8080/callback",
        "http://127.1/callback",
        "http://127.0.0.2/callback",
        "http://0.0.0.0/callback",
        "http://[::]/callback",
        "http://[::ffff:127.0.0.1]/callback",
        "http://app.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:08/callback",
        "http://127.0.0.1:65536/callback",
        "HTTP://127.0.0.1/callback",
    ] {
        assert!(check_redirect_uri(uri).is_err(), "{uri}");
    }
}

#[test]
fn rfc8252_7_1_1__a_private_use_scheme_is_the_name_of_a_domain_in_reverse() {
    for uri in [
        "com.example.app:/oauth2redirect/example-provider",
        "com.example.app:/",
        "com.example-apps.a1:/x?y=z",
        "com.example.app://callback",
        "com.example.app:///callback",
    ] {
        assert_eq!(check_redirect_uri(uri), Ok(()), "{uri}");
    }
    for uri in [
        "myapp:/callback",
        "myapp://callback",
        "javascript:alert(1)",
        "javascript:/alert(1)",
        "data:/text/html,x",
        "file:///etc/passwd",
        "intent://x/#Intent;end",
        "urn:ietf:wg:oauth:2.0:oob",
        "com.example.app:callback",
        "com.example.app:",
        "com.example.app",
        "Com.Example.App:/callback",
        ".com.example:/callback",
        "com..example:/callback",
        "com.example.:/callback",
        "1com.example:/callback",
        "com.ex_ample:/callback",
        "com.example.app://user@host/callback",
        "com.example.app:/a/../b",
    ] {
        assert!(check_redirect_uri(uri).is_err(), "{uri}");
    }
}

#[test]
fn rfc8252_7_2_1__an_https_uri_is_taken_as_a_browser_reads_it() {
    let longest = format!("https://app.example/{}", "a".repeat(MAX_BYTES - 20));
    for uri in [
        "https://app.example/callback",
        "https://app.example",
        "https://app.example:8443/callback?x=1",
        "https://xn--bcher-kva.example/",
        "https://[2001:db8::1]/callback",
        "https://192.0.2.1/callback",
        "https://app.example/a%2Fb/@x;y=(1)!$&+,=~",
        longest.as_str(),
    ] {
        assert_eq!(check_redirect_uri(uri), Ok(()), "{uri}");
    }
    let too_long = format!("{longest}a");
    for (uri, says) in [
        ("", "begin with https"),
        (too_long.as_str(), "2048"),
        ("https://app.example/#", "fragment"),
        ("https://app.example/cb#x", "fragment"),
        ("https://*.example/", "patterns"),
        ("https://app.example/*", "patterns"),
        ("https://user@app.example/", "user name"),
        ("https://user:pw@app.example/", "user name"),
        ("https://@app.example/", "user name"),
        ("https://:@app.example/", "user name"),
        ("https://app.example/ x", "characters"),
        ("https://app.example/\"", "characters"),
        ("https://app.example/'", "characters"),
        ("https://app.example/<x>", "characters"),
        ("https://app.example/\\x", "characters"),
        ("https://app.example/\u{7f}", "characters"),
        ("https://app.example/\r\n", "characters"),
        ("https://app.example/\0", "characters"),
        ("https://app.example/\u{e9}", "characters"),
        ("https://app.example/{x}", "characters"),
        ("https://app.example/a|b", "characters"),
        ("https://app.example/%", "characters"),
        ("https://app.example/%0", "characters"),
        ("https://app.example/%zz", "characters"),
        ("https://app.example/%%41", "characters"),
        ("https://", "a URI"),
        ("https:///callback", "https://callback/"),
        ("https://app.example:99999/", "a URI"),
        ("https://[::1/", "a URI"),
        ("https:app.example/cb", "begin with https"),
        ("https:/app.example/cb", "begin with https"),
        ("//app.example/cb", "begin with https"),
        ("/cb", "begin with https"),
        ("ftp://app.example/cb", "begin with https"),
        ("HTTPS://app.example/cb", "begin with https"),
        ("https://App.example/cb", "https://app.example/cb"),
        ("https://app.example:443/cb", "https://app.example/cb"),
        ("https://app.example/a/../cb", "https://app.example/cb"),
        ("https://app.example/a/%2e%2e/cb", "https://app.example/cb"),
        ("https://0x7f.1/cb", "https://127.0.0.1/cb"),
        ("https://2130706433/cb", "https://127.0.0.1/cb"),
        ("https://%61pp.example/cb", "https://app.example/cb"),
    ] {
        let detail = check_redirect_uri(uri).unwrap_err();
        assert!(
            detail.starts_with("must ") && detail.contains(says),
            "{uri}: {detail}"
        );
    }
}

#[test]
fn a_redirect_uri_has_no_parameter_that_the_answer_adds() {
    for name in OF_ANSWER {
        let uri = format!("https://app.example/cb?x=1&{name}=y");
        let detail = check_redirect_uri(&uri).unwrap_err();
        assert!(detail.contains(name), "{detail}");
    }
    assert!(check_redirect_uri("https://app.example/cb?c%6fde=x").is_err());
    assert_eq!(
        check_redirect_uri("https://app.example/cb?decode=x&State=1"),
        Ok(())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever matches goes to the same place: only the port of a loopback address differs.
    #[test]
    fn what_matches_leads_to_the_same_place(
        registered in proptest::sample::select(REGISTERED.to_vec()),
        at in 0_usize..60,
        cut in 0_usize..8,
        put in prop_oneof![":[0-9]{1,5}", "[a-z0-9:/@?#%. \\\\]{0,6}"],
    ) {
        let mut sent: Vec<char> = registered.chars().collect();
        let at = at.min(sent.len());
        let end = at.saturating_add(cut).min(sent.len());
        sent.splice(at..end, put.chars());
        let sent: String = sent.into_iter().collect();
        if redirect_uri_matches(registered, &sent) && sent != registered {
            let (left, right) = (Url::parse(registered).unwrap(), Url::parse(&sent).unwrap());
            prop_assert!(left.scheme() == "http", "{registered}: {sent}");
            let place = |url: &Url| (url.host_str().map(str::to_owned), url.path().to_owned(), url.query().map(str::to_owned));
            prop_assert_eq!(place(&left), place(&right));
            prop_assert!(right.username().is_empty() && right.password().is_none() && right.fragment().is_none());
        }
    }
}
