//! Collections: paging, filters and sorting as Image Streamer's clients ask for them.

use serde::{Deserialize, Deserializer, Serialize};

/// A page of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Collection<T> {
    /// For instance `GoldenImageCollection`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For instance `golden-images`.
    pub category: String,
    /// Path of the collection.
    pub uri: String,
    /// Index of the first member of this page.
    pub start: u64,
    /// Number of members of this page.
    pub count: u64,
    /// Number of members of the collection that match.
    pub total: u64,
    /// Path of the next page.
    pub next_page_uri: Option<String>,
    /// Path of the page before.
    pub prev_page_uri: Option<String>,
    /// The members of this page.
    pub members: Vec<T>,
}

impl<T> Collection<T> {
    /// The same page with other members.
    pub fn map<U>(self, member: impl FnMut(T) -> U) -> Collection<U> {
        Collection {
            kind: self.kind,
            category: self.category,
            uri: self.uri,
            start: self.start,
            count: self.count,
            total: self.total,
            next_page_uri: self.next_page_uri,
            prev_page_uri: self.prev_page_uri,
            members: self.members.into_iter().map(member).collect(),
        }
    }
}

/// The query of a GET of a collection. `count=-1` means all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Index of the first member wanted.
    pub start: u64,
    /// Number of members wanted; `None` for all.
    #[serde(deserialize_with = "count")]
    pub count: Option<u64>,
    /// For instance `"name='web01'"`, with the double quotes, or bare `status=OK`.
    pub filter: Option<String>,
    /// For instance `name:ascending`.
    pub sort: Option<String>,
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(u64::try_from(i64::deserialize(deserializer)?).ok())
}

/// Filters, sorts and cuts a collection. `field` gives a member's value by its JSON name, `None` for a field that is
/// not there or cannot be asked for.
pub fn page<T: Clone>(
    (kind, category, uri): (&str, &str, &str),
    query: &Page,
    mut all: Vec<T>,
    field: impl Fn(&T, &str) -> Option<String>,
) -> Result<Collection<T>, ListError> {
    if let Some(filter) = &query.filter {
        let (name, wanted) = parse_filter(filter)?;
        all.retain(|member| field(member, name).is_some_and(|value| value.eq_ignore_ascii_case(wanted)));
    }
    let (sort_field, descending) = parse_sort(query.sort.as_deref().unwrap_or("name:ascending"))?;
    all.sort_by_cached_key(|member| field(member, sort_field).map(|value| value.to_ascii_lowercase()));
    if descending {
        all.reverse();
    }
    let total = all.len() as u64;
    let start = query.start.min(total);
    let count = query.count.unwrap_or(u64::MAX).min(total - start);
    let link = |start: u64| format!("{uri}?start={start}&count={}", query.count.unwrap_or(total));
    Ok(Collection {
        kind: kind.to_owned(),
        category: category.to_owned(),
        uri: uri.to_owned(),
        start,
        count,
        total,
        next_page_uri: (count > 0 && start + count < total).then(|| link(start + count)),
        prev_page_uri: (start > 0).then(|| link(start.saturating_sub(query.count.unwrap_or(start)))),
        members: all.into_iter().skip(index(start)).take(index(count)).collect(),
    })
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A filter or a sort order that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Neither `field='value'` nor `field matches 'value'`.
    #[error("the filter {0:?} is not understood; write it as name='value'")]
    Filter(String),
    /// Not `field:ascending` or `field:descending`.
    #[error("the sort order {0:?} is not understood; write it as name:ascending or name:descending")]
    Sort(String),
}

/// The forms seen from clients: `"name='foo'"`, `name='foo'`, `status=OK`, `name matches 'foo'`.
fn parse_filter(filter: &str) -> Result<(&str, &str), ListError> {
    let bare = filter.trim().trim_matches('"');
    let (name, value) = bare
        .split_once(" matches ")
        .or_else(|| bare.split_once('='))
        .ok_or_else(|| ListError::Filter(filter.to_owned()))?;
    Ok((name.trim().trim_matches('\''), value.trim().trim_matches('\'')))
}

fn parse_sort(sort: &str) -> Result<(&str, bool), ListError> {
    match sort.split_once(':') {
        None => Ok((sort, false)),
        Some((field, "ascending" | "asc" | "a")) => Ok((field, false)),
        Some((field, "descending" | "desc" | "d")) => Ok((field, true)),
        Some(_) => Err(ListError::Sort(sort.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &Page) -> Result<Collection<String>, ListError> {
        let all = ["b", "C", "a", "d"].map(String::from).to_vec();
        page(("T", "c", "/rest/c"), query, all, |m, f| (f == "name").then(|| m.clone()))
    }

    #[test]
    fn filters_in_every_form_that_clients_send() {
        for filter in ["\"name='c'\"", "name='c'", "name=c", "name matches 'c'", "\"'name'='c'\""] {
            let query = Page { filter: Some(filter.into()), ..Page::default() };
            assert_eq!(names(&query).unwrap().members, ["C"], "{filter}");
        }
        assert!(names(&Page { filter: Some("nonsense".into()), ..Page::default() }).is_err());
    }

    #[test]
    fn pages_are_cut_and_linked() {
        let first = names(&Page { count: Some(3), ..Page::default() }).unwrap();
        assert_eq!((first.members, first.total), (vec!["a".into(), "b".into(), "C".into()], 4));
        assert_eq!(first.next_page_uri.as_deref(), Some("/rest/c?start=3&count=3"));
        let last = names(&Page { start: 3, count: Some(3), ..Page::default() }).unwrap();
        assert_eq!((last.members, last.next_page_uri), (vec!["d".to_string()], None));
        assert_eq!(last.prev_page_uri.as_deref(), Some("/rest/c?start=0&count=3"));
        let past = names(&Page { start: u64::MAX, count: Some(u64::MAX), ..Page::default() }).unwrap();
        assert_eq!((past.count, past.start), (0, 4));
    }

    #[test]
    fn sorting_goes_both_ways_and_refuses_nonsense() {
        let sorted = |order: &str| names(&Page { sort: Some(order.into()), ..Page::default() });
        assert_eq!(sorted("name:descending").unwrap().members, ["d", "C", "b", "a"]);
        assert_eq!(sorted("name:sideways").unwrap_err(), ListError::Sort("name:sideways".into()));
    }
}
