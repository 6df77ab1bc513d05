//! What a coordinator tells whoever watches: its groups and the offsets they committed, a piece at a time.

use super::Coordinator;
use super::outbox::TopicPartition;
use std::ops::Bound;
use std::sync::Arc;

/// One thing that is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupLine {
    Group { group: Arc<str>, state: &'static str, members: usize },
    Offset { group: Arc<str>, topic: Arc<str>, partition: i32, offset: i64 },
}

/// The last thing that was told: what follows it is next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupCursor {
    group: Arc<str>,
    at: Option<TopicPartition>,
}

impl GroupLine {
    fn cursor(&self) -> GroupCursor {
        match self {
            GroupLine::Group { group, .. } => GroupCursor { group: group.clone(), at: None },
            GroupLine::Offset { group, topic, partition, .. } => {
                let at = TopicPartition { topic: topic.clone(), partition: *partition };
                GroupCursor { group: group.clone(), at: Some(at) }
            }
        }
    }
}

impl Coordinator {
    /// Adds what comes after a cursor, group by group in the order of names, until there are `most` lines. Returns where to go on;
    /// `None` when everything is told. A group or an offset that went meanwhile is passed over.
    pub fn tell(&self, after: Option<&GroupCursor>, most: usize, lines: &mut Vec<GroupLine>) -> Option<GroupCursor> {
        let from = after.map_or(Bound::Unbounded, |cursor| Bound::Included(&*cursor.group));
        for (id, group) in self.groups.range::<str, _>((from, Bound::Unbounded)) {
            let told = after.filter(|cursor| cursor.group == *id);
            if told.is_none() {
                if lines.len() >= most {
                    return lines.last().map(GroupLine::cursor);
                }
                let (state, members) = (group.state.name(), group.members.len());
                lines.push(GroupLine::Group { group: id.clone(), state, members });
            }
            let from = told.and_then(|cursor| cursor.at.as_ref()).map_or(Bound::Unbounded, Bound::Excluded);
            for (at, value) in group.offsets.range((from, Bound::Unbounded)) {
                if lines.len() >= most {
                    return lines.last().map(GroupLine::cursor);
                }
                let (group, topic) = (id.clone(), at.topic.clone());
                lines.push(GroupLine::Offset { group, topic, partition: at.partition, offset: value.offset });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{OffsetValue, encode_offset, encode_offset_key};
    use crate::types::{TopicId, WallMs};

    fn coordinator(groups: &[(&str, i32)]) -> Coordinator {
        let mut coordinator = Coordinator::new(0);
        for (group, offsets) in groups {
            for partition in 0..*offsets {
                let value = OffsetValue {
                    offset: 100 + i64::from(partition),
                    leader_epoch: -1,
                    metadata: "".into(),
                    commit_timestamp: 1,
                    expire_timestamp: None,
                    topic_id: TopicId::ZERO,
                };
                let key = encode_offset_key(group, "t", partition);
                coordinator.replay(&key, Some(&encode_offset(&value)), 0, WallMs(0)).expect("a good record");
            }
        }
        coordinator
    }

    #[test]
    fn pieces_of_any_size_make_the_whole() {
        let coordinator = coordinator(&[("a", 3), ("b", 1), ("c", 5)]);
        let mut whole = Vec::new();
        assert_eq!(coordinator.tell(None, usize::MAX, &mut whole), None);
        assert_eq!(whole.len(), 3 + 9);
        let expected = GroupLine::Offset { group: "a".into(), topic: "t".into(), partition: 2, offset: 102 };
        assert_eq!(whole[3], expected);
        for size in 1..=whole.len() + 1 {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let mut piece = Vec::new();
                cursor = coordinator.tell(cursor.as_ref(), size, &mut piece);
                assert!(piece.len() <= size);
                all.extend(piece);
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(all, whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_group_that_went_is_passed_over() {
        let before = coordinator(&[("a", 3), ("b", 2)]);
        let mut lines = Vec::new();
        let cursor = before.tell(None, 2, &mut lines).expect("there is more");
        let after = coordinator(&[("b", 2)]);
        let mut rest = Vec::new();
        assert_eq!(after.tell(Some(&cursor), 100, &mut rest), None);
        assert!(matches!(&rest[0], GroupLine::Group { group, .. } if **group == *"b"), "{rest:?}");
        assert_eq!(rest.len(), 3);
    }
}
