//! Passwords taken out of texts.

/// What a password is shown as.
const MASK: &str = "********";

/// A text without the secrets that are in it. What is hidden is found in the text as it was: a secret that is a part of a
/// mask, or that begins where another one has not ended, makes no difference.
pub(crate) fn mask(text: &str, secrets: &[String]) -> String {
    let mut hidden = vec![false; if secrets.is_empty() { 0 } else { text.len() }];
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        for (at, found) in text.match_indices(secret.as_str()) {
            hidden.iter_mut().skip(at).take(found.len()).for_each(|hidden| *hidden = true);
        }
    }
    if !hidden.contains(&true) {
        return text.to_owned();
    }
    let (mut masked, mut was_hidden) = (String::with_capacity(text.len()), false);
    for (c, is_hidden) in text.char_indices().map(|(at, c)| (c, hidden.get(at) == Some(&true))) {
        match (was_hidden, is_hidden) {
            (_, false) => masked.push(c),
            (false, true) => masked += MASK,
            (true, true) => {}
        }
        was_hidden = is_hidden;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, secrets: &[&str]) -> String {
        mask(text, &secrets.iter().map(|&secret| secret.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_secret_is_hidden_and_nothing_else() {
        assert_eq!(masked("a secret é secrets", &["secret"]), "a ******** é ********s");
        assert_eq!(masked("nothing", &["secret", ""]), "nothing");
        assert_eq!(masked("été", &["é"]), "********t********");
    }

    #[test]
    fn secrets_that_overlap_are_hidden_both() {
        assert_eq!(masked("-abcdefgh-", &["abcde", "defgh"]), "-********-");
        assert_eq!(masked("-abcdef-", &["bc", "abcdef"]), "-********-");
    }

    #[test]
    fn secrets_that_look_like_a_mask_do_not_grow() {
        let stars: Vec<String> = (1..9).map(|len| "*".repeat(len)).collect();
        let once = mask("x * x", &stars);
        assert_eq!(once, "x ******** x");
        assert_eq!(mask(&once, &stars), once);
    }
}
