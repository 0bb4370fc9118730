//! Near misses: two names that differ by one slip of the keyboard.

/// Shortest name, in characters, that can be a near miss: shorter ones differ by design (`v1`, `hk`).
const SHORTEST: usize = 4;

/// Whether `a` is `b` with one slip: one character changed, added, dropped, or two neighbours swapped
/// (Damerau–Levenshtein distance 1), both of at least four characters.
///
/// Names that are equal without their digits are ordinary neighbours (`v1/v2`, `gray1/gray2`,
/// `feat-123/feat-124`), not slips.
pub fn is_near(a: &str, b: &str) -> bool {
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    // A character is at most four bytes, so one edit moves the length by at most four.
    if longer - shorter > 4 || a.chars().count() < SHORTEST || b.chars().count() < SHORTEST {
        return false;
    }
    strsim::osa_distance(a, b) == 1 && !a.chars().filter(no_digit).eq(b.chars().filter(no_digit))
}

/// The first of `candidates` in their text order that is near `name`.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .filter(|candidate| is_near(name, candidate))
        .min()
}

/// The one of `candidates` that whoever wrote `name` meant: the same in other letters' case or with other dashes, or else
/// the nearest.
pub fn meant<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let written = plain(name);
    let same = candidates.clone().find(|candidate| plain(candidate) == written);
    same.or_else(|| nearest(name, candidates))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that `filter` calls")]
fn no_digit(c: &char) -> bool {
    !c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_near() {
        for (a, b) in [
            ("wtcph", "wicph"),
            ("wicph", "wicphx"),
            ("wicph", "wcph"),
            ("wicph", "wciph"),
            ("verison", "version"),
        ] {
            assert!(is_near(a, b), "{a} {b}");
            assert!(is_near(b, a), "{b} {a}");
        }
    }

    #[test]
    fn ordinary_neighbours_short_names_and_equal_names_are_not_near() {
        for (a, b) in [
            ("v1", "v2"),
            ("gray1", "gray2"),
            ("feat-123", "feat-124"),
            ("gray", "gray2"),
            ("hk", "ph"),
            ("dev", "dep"),
            ("wicph", "wicph"),
            ("wtchk", "wicph"),
        ] {
            assert!(!is_near(a, b), "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_does_not_depend_on_the_order_of_the_candidates() {
        assert_eq!(nearest("wtcph", ["wicph", "wtchk"]), Some("wicph"));
        assert_eq!(nearest("gray", ["grey", "grab"]), Some("grab"));
        assert_eq!(nearest("gray", ["grab", "grey"]), Some("grab"));
        assert_eq!(nearest("blue", ["green"]), None);
    }
}
