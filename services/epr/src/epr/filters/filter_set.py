"""The filters of an application as a replica keeps them, and which of them an endpoint matches [pure].

A change of an endpoint is matched against the filters that mention what it changed, and against pending ones, since
they may not have been matched before. So it costs nothing that an application has thousands of others.
A new endpoint is matched against the filters that mention something it has, and those that match one without metadata;
no other can.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from epr.filters.model import Filter, Status
from epr.filters.queries import MENTIONS_ANY_KEY, MENTIONS_APPLICATION_VERSION, FilterQuery
from epr.model import Endpoint, MetadataChanges


@dataclass(frozen=True, slots=True)
class Rule:
    """A filter with its compiled query."""

    filter: Filter
    query: FilterQuery


Rules = Mapping[str, Rule]


class FilterSet:
    """The filters of one application, as of a generation or later."""

    def __init__(self, generation: int, rules: Iterable[Rule]) -> None:
        self.generation: Final = generation
        self.rules: Final = {rule.filter.id: rule for rule in rules}
        by_mention: dict[str, dict[str, Rule]] = defaultdict(dict)
        live = [rule for rule in self.rules.values() if rule.filter.status is not Status.DELETED]
        for rule in live:
            for mention in rule.query.mentions:
                by_mention[mention][rule.filter.id] = rule
        self._by_mention = dict(by_mention)
        self._live = {rule.filter.id: rule for rule in live}
        self._deleted = self.rules.keys() - self._live.keys()
        self._pending = {rule.filter.id: rule for rule in live if rule.filter.status is Status.PENDING}
        nothing = {"application_version": "", "metadata": []}
        self._match_without_metadata = {
            rule.filter.id: rule
            for rule in live
            if MENTIONS_APPLICATION_VERSION not in rule.query.mentions and rule.query.query.matches(nothing)
        }

    def knows(self, filter_ids: Iterable[str]) -> bool:
        return all(filter_id in self.rules for filter_id in filter_ids)

    def seen(self, filter_id: str) -> Filter | None:
        """The filter, unless it is deleted or not known here."""
        rule = self._live.get(filter_id)
        return None if rule is None else rule.filter

    def applied(self, before: Endpoint, after: Endpoint, changes: MetadataChanges) -> Endpoint:
        """A changed endpoint with the filters that it matches now."""
        if not self.rules and before.filters_generation >= self.generation:
            return after
        mentioned = [*changes.removed, *changes.added, *changes.updated]
        if mentioned:
            mentioned.append(MENTIONS_ANY_KEY)
        if after.app_version != before.app_version:
            mentioned.append(MENTIONS_APPLICATION_VERSION)
        concerned = self._mentioning(mentioned)
        if not self._pending:
            if not concerned and before.filters_generation >= self.generation:
                return after
            return self._matched(after, concerned, concerned)
        concerned |= self._pending
        return self._matched(after, concerned, _both(concerned, self._possible(after)))

    def applied_to_new(self, endpoint: Endpoint) -> Endpoint:
        """A registered endpoint, which has no filters yet, with those that it matches."""
        return self._matched(endpoint, self._live, self._possible(endpoint))

    def reapplied(self, endpoint: Endpoint) -> Endpoint:
        """An endpoint whose filters were those of an older generation, with those of this one.

        That is its next revision when it matches others; else, also when one is deleted, only its document changes.
        """
        matched = self._matched(endpoint, self._pending, _both(self._pending, self._possible(endpoint)))
        if set(matched.filters) ^ set(endpoint.filters) <= self._deleted:
            return matched._replace(restamped=endpoint.restamped + 1)
        return matched._replace(revision=endpoint.revision + 1)

    def _matched(self, endpoint: Endpoint, concerned: Rules, possible: Rules) -> Endpoint:
        """With new verdicts of the filters concerned, of which only some can match."""
        document = endpoint.queried() if possible else {}
        matching = {filter_id for filter_id, rule in possible.items() if rule.query.query.matches(document)}
        # One that is not known here was made after this generation. One that is deleted is taken out with a later
        # generation than the endpoint's: a replica that does not know of it yet would put it in again.
        gone = self._deleted if self.generation > endpoint.filters_generation else frozenset[str]()
        kept = [
            filter_id
            for filter_id in endpoint.filters
            if filter_id in matching or (filter_id not in concerned and filter_id not in gone)
        ]
        filters = (*kept, *sorted(matching.difference(kept)))
        generation = max(endpoint.filters_generation, self.generation)
        if filters == endpoint.filters and generation == endpoint.filters_generation:
            return endpoint
        return endpoint._replace(filters=filters, filters_generation=generation)

    def _possible(self, endpoint: Endpoint) -> dict[str, Rule]:
        """All that can match an endpoint."""
        mentioned = (*endpoint.metadata, MENTIONS_ANY_KEY, MENTIONS_APPLICATION_VERSION)
        return self._mentioning(mentioned) | self._match_without_metadata

    def _mentioning(self, mentioned: Iterable[str]) -> dict[str, Rule]:
        found: dict[str, Rule] = {}
        for mention in mentioned:
            found |= self._by_mention.get(mention, {})
        return found


def _both(some: Rules, others: Rules) -> Rules:
    return {filter_id: rule for filter_id, rule in some.items() if filter_id in others}
