//! The list of rules, and their pages.

use super::{Check, Finding, Level};
use super::{
    lk101, lk102, lk103, lk104, lk105, lk106, lk107, lk108, lk109, lk201, lk202, lk203, lk204, lk205, lk206,
    lk301, lk302, lk303, lk304, lk305, lk306, lk307, lk308, lk401, lk402, lk403, lk404, lk405, lk406, lk407,
    lk408, lk501, lk502, lk503, lk504, lk601, lk602,
};
use crate::resource::{Kind, Resource};

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its code: `LK101`.
    pub code: &'static str,
    /// Its name: `subset-without-workload`.
    pub name: &'static str,
    /// How much its findings weigh unless configured otherwise.
    pub level: Level,
    /// The kinds of object that it judges.
    pub kinds: &'static [Kind],
    /// Its source file, whose head is its page.
    pub source: &'static str,
    /// The judgement.
    pub check: for<'w> fn(&Check<'_, 'w>, &'w Resource) -> Vec<Finding>,
}

/// Every rule, by code.
pub const RULES: &[Rule] = &[
    lk101::RULE,
    lk102::RULE,
    lk103::RULE,
    lk104::RULE,
    lk105::RULE,
    lk106::RULE,
    lk107::RULE,
    lk108::RULE,
    lk109::RULE,
    lk201::RULE,
    lk202::RULE,
    lk203::RULE,
    lk204::RULE,
    lk205::RULE,
    lk206::RULE,
    lk301::RULE,
    lk302::RULE,
    lk303::RULE,
    lk304::RULE,
    lk305::RULE,
    lk306::RULE,
    lk307::RULE,
    lk308::RULE,
    lk401::RULE,
    lk402::RULE,
    lk403::RULE,
    lk404::RULE,
    lk405::RULE,
    lk406::RULE,
    lk407::RULE,
    lk408::RULE,
    lk501::RULE,
    lk502::RULE,
    lk503::RULE,
    lk504::RULE,
    lk601::RULE,
    lk602::RULE,
];

/// The rule that has this code or name, in any case.
pub fn find(code_or_name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| {
        rule.code.eq_ignore_ascii_case(code_or_name) || rule.name.eq_ignore_ascii_case(code_or_name)
    })
}

/// A word that names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule has the code or name `{0}`; `lanekeeper rules` lists them")]
pub struct UnknownRule(String);

/// The rule of this code or name, or the rules whose codes start so: `LK1`.
pub fn named(name: &str) -> Result<Vec<Rule>, UnknownRule> {
    if let Some(rule) = find(name) {
        return Ok(vec![*rule]);
    }
    let start = name.to_ascii_uppercase();
    let starts_so = |rule: &&Rule| start.starts_with("LK") && rule.code.starts_with(&start);
    let rules: Vec<Rule> = RULES.iter().filter(starts_so).copied().collect();
    if rules.is_empty() {
        return Err(UnknownRule(name.to_owned()));
    }
    Ok(rules)
}

/// The page that lists every rule, in Markdown; the rules' own pages are beside it.
pub fn index() -> String {
    let row = |rule: &Rule| {
        let what = rule.summary().trim().replace('|', "\\|");
        let Rule {
            code, name, level, ..
        } = rule;
        format!("| [{code}]({code}.md) | {name} | {level} | {what} |\n")
    };
    let rows: String = RULES.iter().map(row).collect();
    format!(
        "# Rules\n\nLevel `deny` refuses at admission and fails `check`, unless the finding itself is less sure; `warn` warns.\n\n\
         | code | name | level | what it proves |\n|---|---|---|---|\n{rows}"
    )
}

impl Rule {
    /// The rule's page, in Markdown.
    pub fn page(&self) -> String {
        let lines = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
        let mut page: String = lines.flat_map(|line| [line, "\n"]).collect();
        let title = format!("# {} {}\n\nLevel: {}\n\n", self.code, self.name, self.level);
        page.insert_str(0, &title);
        page
    }

    /// The page's first sentence: what the rule proves.
    pub fn summary(&self) -> String {
        // Title, level, summary.
        self.page()
            .split("\n\n")
            .nth(2)
            .unwrap_or_default()
            .replace('\n', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_code_and_name_and_a_whole_page() {
        assert!(RULES.is_sorted_by(|a, b| a.code < b.code));
        for rule in RULES {
            let page = rule.page();
            for part in [
                "## What it does",
                "## Why it matters",
                "## Example",
                "Use instead",
                "## References",
            ] {
                assert!(page.contains(part), "{} has no {part}:\n{page}", rule.code);
            }
            assert!(
                !rule.summary().is_empty() && rule.summary().len() < 300,
                "{}: {}",
                rule.code,
                rule.summary()
            );
            assert_eq!(RULES.iter().filter(|other| other.name == rule.name).count(), 1);
        }
    }

    #[test]
    fn a_rule_is_found_by_code_or_name_in_any_case() {
        assert_eq!(find("lk101").unwrap().code, "LK101");
        assert_eq!(find("unknown-subset").unwrap().code, "LK103");
        assert!(find("LK999").is_none());
    }
}
