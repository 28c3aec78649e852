//! No change of a valid token is valid.

use proptest::prelude::*;

use crate::issuer::Issuer;
use crate::lab::{Lab, config};

#[derive(Debug, Clone)]
enum Edit {
    Replace(char),
    Insert(char),
    Delete,
    Cut,
    SwapWithNext,
}

/// What a header may carry; white space around a token is no part of it.
fn printable() -> impl Strategy<Value = char> {
    prop_oneof![
        3 => proptest::sample::select(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=".chars().collect::<Vec<_>>()
        ),
        1 => proptest::char::range('!', '~'),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => printable().prop_map(Edit::Replace),
        2 => printable().prop_map(Edit::Insert),
        2 => Just(Edit::Delete),
        1 => Just(Edit::Cut),
        1 => Just(Edit::SwapWithNext),
    ]
}

fn changed(token: &str, edits: &[(prop::sample::Index, Edit)]) -> String {
    let mut text: Vec<char> = token.chars().collect();
    for (at, edit) in edits {
        if text.is_empty() {
            break;
        }
        let at = at.index(text.len());
        match edit {
            Edit::Replace(with) => text[at] = *with,
            Edit::Insert(new) => text.insert(at, *new),
            Edit::Delete => drop(text.remove(at)),
            Edit::Cut => text.truncate(at),
            Edit::SwapWithNext if at + 1 < text.len() => text.swap(at, at + 1),
            Edit::SwapWithNext => {}
        }
    }
    text.into_iter().collect()
}

#[test]
fn no_changed_token_is_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (issuer, lab, _running) = runtime.block_on(async {
        let issuer = Issuer::start().await;
        let lab = Lab::with(config(vec![issuer.entry()]));
        let running = issuer.run(&lab).await;
        (issuer, lab, running)
    });
    let valid = vec![
        lab.token(None),
        issuer.token(&lab, "rsa"),
        issuer.token(&lab, "p256"),
        issuer.token(&lab, "ed"),
        lab.key.expose().to_owned(),
    ];
    for token in &valid {
        runtime.block_on(lab.bearer(token)).unwrap();
    }
    let edits = prop::collection::vec((any::<prop::sample::Index>(), edit()), 1..4);
    proptest!(ProptestConfig::with_cases(1500), |(which in 0..valid.len(), edits in edits)| {
        let text = changed(&valid[which], &edits);
        if text != valid[which] {
            let found = runtime.block_on(lab.bearer(&text));
            prop_assert!(found.is_err(), "{text} was taken");
        }
    });
}
