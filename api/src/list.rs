//! Collections: paging, filters and sorting as Image Streamer's clients ask for them.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::filter;

/// A page of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}Collection")]
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

    /// The same page with other members, if all of them can be had.
    pub fn try_map<U, E>(self, member: impl FnMut(T) -> Result<U, E>) -> Result<Collection<U>, E> {
        let members = self.members.into_iter().map(member).collect::<Result<_, E>>()?;
        Ok(Collection {
            kind: self.kind,
            category: self.category,
            uri: self.uri,
            start: self.start,
            count: self.count,
            total: self.total,
            next_page_uri: self.next_page_uri,
            prev_page_uri: self.prev_page_uri,
            members,
        })
    }
}

/// The query of a GET of a collection. `count=-1` means all; `filter` may be there several times, and all must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Index of the first member wanted.
    pub start: u64,
    /// Number of members wanted; `None` for all.
    pub count: Option<u64>,
    /// For instance `"name='web01'"`, with the double quotes, or bare `status=OK`.
    pub filter: Vec<String>,
    /// For instance `name:ascending`.
    pub sort: Option<String>,
}

/// Most filters of one request.
const FILTERS_MAX: usize = 32;

/// By hand, because a query may have a key several times. What is not known is ignored, as OneView does: its clients send
/// `view`, `fields` and more.
impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Query;
        impl<'de> Visitor<'de> for Query {
            type Value = Page;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("start, count, filter and sort")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
                let mut page = Page::default();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    page.set(&key, value).map_err(A::Error::custom)?;
                }
                Ok(page)
            }
        }
        deserializer.deserialize_map(Query)
    }
}

impl Page {
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let number =
            |what: &str| value.trim().parse::<i64>().map_err(|_| format!("{what}={value} is not a number"));
        match key {
            "start" => {
                let start = number("start")?;
                self.start = u64::try_from(start).map_err(|_| format!("start={start} is below zero"))?;
            }
            "count" => self.count = u64::try_from(number("count")?).ok(),
            "filter" if value.trim().is_empty() => {}
            "filter" if self.filter.len() >= FILTERS_MAX => {
                return Err(format!("at most {FILTERS_MAX} filters are allowed"));
            }
            "filter" => self.filter.push(value),
            "sort" if value.trim().is_empty() => {}
            "sort" => self.sort = Some(value),
            _ => {}
        }
        Ok(())
    }

    /// The query of another page of the same list.
    fn link(&self, uri: &str, start: u64, count: u64) -> String {
        let filters = self.filter.iter().map(|filter| ("filter", filter));
        let rest: String = filters
            .chain(self.sort.iter().map(|sort| ("sort", sort)))
            .map(|(key, value)| format!("&{key}={}", escaped(value)))
            .collect();
        format!("{uri}?start={start}&count={count}{rest}")
    }
}

/// As it is written in a query (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    let byte = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Filters, sorts and cuts a collection. `field` gives a member's value by its JSON name, `None` for a field that is
/// not there or cannot be asked for.
pub fn page<T: Clone>(
    (kind, category, uri): (&str, &str, &str),
    query: &Page,
    mut all: Vec<T>,
    field: impl Fn(&T, &str) -> Option<String>,
) -> Result<Collection<T>, ListError> {
    for filter in &query.filter {
        for term in filter::parse(filter)? {
            all.retain(|member| term.holds(field(member, term.field).as_deref()));
        }
    }
    let (sort_field, descending) = parse_sort(query.sort.as_deref().unwrap_or("name:ascending"))?;
    all.sort_by_cached_key(|member| field(member, sort_field).map(|value| value.to_ascii_lowercase()));
    if descending {
        all.reverse();
    }
    let total = all.len() as u64;
    let start = query.start.min(total);
    let count = query.count.unwrap_or(u64::MAX).min(total - start);
    let link = |start: u64| query.link(uri, start, query.count.unwrap_or(total));
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

/// The same for members that are resources already: any field of their JSON can be asked for, also
/// `associatedResource.resourceUri`.
pub fn page_of<T: Serialize + Clone>(
    kind: (&str, &str, &str),
    query: &Page,
    all: Vec<T>,
) -> Result<Collection<T>, ListError> {
    let with_json = |member: T| {
        let json = serde_json::to_value(&member).unwrap_or_default();
        (member, json)
    };
    let all = all.into_iter().map(with_json).collect();
    let found = page(kind, query, all, |(_, json): &(T, Value), field| text_at(json, field))?;
    Ok(found.map(|(member, _)| member))
}

/// A scalar below a JSON value, by its path.
fn text_at(json: &Value, path: &str) -> Option<String> {
    match path.split('.').try_fold(json, |value, step| value.get(step))? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => Some("null".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
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
            let query = Page { filter: vec![filter.into()], ..Page::default() };
            assert_eq!(names(&query).unwrap().members, ["C"], "{filter}");
        }
        assert!(names(&Page { filter: vec!["nonsense".into()], ..Page::default() }).is_err());
        let both = vec!["\"name like '%'\"".into(), "name!='c'".into()];
        assert_eq!(names(&Page { filter: both, ..Page::default() }).unwrap().members, ["a", "b", "d"]);
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

    #[test]
    fn a_query_may_have_a_key_twice_and_keys_that_are_not_known() {
        let pairs = [
            ("filter", "a=1"),
            ("view", "x"),
            ("filter", "b=2"),
            ("start", "3"),
            ("count", "-1"),
            ("sort", ""),
        ];
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            Page::deserialize(serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(pairs))
        };
        let page = read(&pairs).unwrap();
        assert_eq!(page.filter, ["a=1", "b=2"]);
        assert_eq!((page.start, page.count, page.sort), (3, None, None));
        assert!(read(&[("start", "-1")]).unwrap_err().to_string().contains("below zero"));
        assert!(read(&[("count", "many")]).unwrap_err().to_string().contains("not a number"));
    }

    #[test]
    fn the_next_page_has_the_same_filter_and_order() {
        let query = Page {
            count: Some(1),
            filter: vec!["\"name matches '%'\"".into()],
            sort: Some("name:descending".into()),
            ..Page::default()
        };
        let found = names(&query).unwrap();
        assert_eq!(found.members, ["d"]);
        let next = "/rest/c?start=1&count=1&filter=%22name%20matches%20%27%25%27%22&sort=name:descending";
        assert_eq!(found.next_page_uri.as_deref(), Some(next));
    }

    #[test]
    fn fields_below_fields_can_be_asked_for() {
        let all = vec![
            serde_json::json!({"a": {"b": "x"}, "n": 1}),
            serde_json::json!({"a": {"b": "y"}, "n": null}),
        ];
        let found = |filter: &str| {
            let query = Page { filter: vec![filter.into()], ..Page::default() };
            page_of(("T", "c", "/c"), &query, all.clone()).unwrap().total
        };
        assert_eq!(
            (found("a.b=x"), found("n=1"), found("n=null"), found("a=x"), found("a.b.c=x")),
            (1, 1, 1, 0, 0)
        );
    }
}
