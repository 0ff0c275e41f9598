package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// question says which sockets count.
type question struct {
	types       []string // canonical; empty for all
	statuses    []string // canonical; empty for all
	notTypes    []string // but for these
	notStatuses []string
	filters     []filter
	minIdle     time.Duration // 0: sockets count however busy they are

	minIdleTyped string
}

// openStatuses are those of connections that have had traffic and may have more.
var openStatuses = []string{"CLOSE_WAIT", "CLOSING", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK"}

// includes tells whether any socket of the type and in the status can count.
func (q *question) includes(socketType, status string) bool {
	if slices.Contains(q.notTypes, socketType) || slices.Contains(q.notStatuses, status) {
		return false
	}
	return (len(q.types) == 0 || slices.Contains(q.types, socketType)) &&
		(len(q.statuses) == 0 || slices.Contains(q.statuses, status)) &&
		(q.minIdle == 0 || !isUDP(socketType) && slices.Contains(openStatuses, status))
}

// asks tells whether the socket counts. Nothing else decides that.
func (q *question) asks(s *socket) answer {
	if !q.includes(s.proto, s.Status) || q.minIdle > 0 && s.idle < q.minIdle {
		return no
	}
	counted := yes
	for i := range q.filters {
		counted = min(counted, q.filters[i].asks(s))
	}
	return counted
}

func (q *question) fields() (all fields) {
	for _, f := range q.filters {
		all |= f.needs
		if f.isRemote {
			all |= fieldRemotePort // which tells whether there is a peer
		}
	}
	if q.minIdle > 0 {
		all |= fieldIdle
	}
	return all
}

func (q *question) hasFilter(d *dimension) bool {
	return slices.ContainsFunc(q.filters, func(f filter) bool { return f.dimension == d })
}

// namesUnitInPart tells whether --unit has a name without the kind of unit, as in
// nginx.
func (q *question) namesUnitInPart() bool {
	isPart := func(i filterItem) bool { return isTold(i.text) && !strings.ContainsAny(i.text, ".*?") }
	return slices.ContainsFunc(q.filters, func(f filter) bool { return f.dimension == byUnit && slices.ContainsFunc(f.include, isPart) })
}

// groupKey returns the key of the group that the socket is in. In a run there is
// one grouping.
func (s *socket) groupKey(by grouping) []byte {
	if !s.isKeyed {
		s.key, s.isKeyed = by.key(s.key[:0], s), true
	}
	return s.key
}

// tally counts the sockets by a grouping, nil for all in one.
func (q *question) tally(by grouping) *tally {
	return &tally{includes: q.includes, fields: q.fields() | by.fields(), asks: q.asks, bounds: q.bounds,
		key: func(to []byte, s *socket) []byte {
			if by == nil {
				return to
			}
			return append(to, s.groupKey(by)...)
		}}
}

// tallyOf counts the sockets of one group, all with the same key.
func (q *question) tallyOf(by grouping, key string) *tally {
	t := q.tally(by)
	t.includes = func(socketType, status string) bool {
		isOther := func(d *dimension, value string) bool { return by.has(d) && by.value(key, d) != value }
		return q.includes(socketType, status) && !isOther(byType, socketType) && !isOther(byStatus, status)
	}
	t.asks = func(s *socket) answer {
		if string(s.groupKey(by)) != key {
			return no
		}
		return q.asks(s)
	}
	return t
}

// tallyHidden counts the sockets that count, or may, whose value in the
// dimension is hidden.
func (q *question) tallyHidden(d *dimension) *tally {
	t := q.tally(nil)
	t.fields |= d.needs
	t.asks = func(s *socket) answer { return sure(d.isHidden(s) && q.asks(s) != no) }
	return t
}

// bounds returns what the filters on ports and addresses leave in.
func (q *question) bounds(uint64) (all []bound) {
	for _, f := range q.filters {
		b := bound{isRemote: f.isRemote}
		for _, item := range f.include {
			if ports, ok := parsePortRange(item.text); ok && f.port != nil {
				b.ports = append(b.ports, ports)
			} else if network, err := parseNetwork(item.text); err == nil && f.port == nil {
				b.networks = append(b.networks, network)
			}
		}
		if isEnd := f.dimension == byLocalAddress || f.dimension == byRemoteAddress || f.port != nil; isEnd && len(f.include) > 0 {
			all = append(all, b)
		}
	}
	return all
}

// typeStatus is a type with a status that its sockets can have.
type typeStatus struct{ socketType, status string }

var errNothingLeft = errors.New("no socket can match: everything is excluded")

// kinds returns what can count of the statuses.
func (q *question) kinds(of []string) (all []typeStatus) {
	for _, socketType := range socketTypes {
		for _, status := range of {
			if isUDP(socketType) == (status == statusNone) && q.includes(socketType, status) {
				all = append(all, typeStatus{socketType, status})
			}
		}
	}
	return all
}

// checkKey returns an error where no socket with the key can ever count. of are
// the statuses that there are, text is the key as it was typed.
func (q *question) checkKey(g grouping, key, text string, of []string) error {
	s := socket{owner: owner{process: hidden, user: hidden, unit: hidden}, netns: hidden, direction: hidden, idle: math.MaxInt64, isNamed: true}
	s.Laddr.IP, s.Raddr.IP, s.Laddr.Port, s.Raddr.Port = hidden, hidden, portHidden, portHidden
	for i, value := range g.values(key) {
		// Where several names are free, one could be read in several ways.
		if isSure := !g[i].isFree || g.freeNames() == 1; value != "" && isSure {
			g[i].assign(&s, value)
		}
	}
	isOne := func(k typeStatus) bool {
		return (s.proto == "" || s.proto == k.socketType) && (s.Status == "" || s.Status == k.status)
	}
	if everything := (&question{}).kinds(statuses); !slices.ContainsFunc(everything, isOne) {
		return fmt.Errorf("the group %s cannot exist: UDP sockets have the status none, TCP sockets all the others", text)
	}
	kinds := slices.DeleteFunc(q.kinds(of), func(k typeStatus) bool { return !isOne(k) })
	if len(kinds) == 0 {
		return fmt.Errorf("no selected socket can be in the group %s", text)
	}
	s.proto, s.Status = kinds[0].socketType, kinds[0].status
	for i := range q.filters {
		if f := &q.filters[i]; g.has(f.dimension) && f.asks(&s) == no {
			return fmt.Errorf("--%s excludes the group %s", f.name, text)
		}
	}
	return nil
}

// filter is a list of items for a dimension: something must match an item of
// include, unless that is empty, and nothing of exclude.
type filter struct {
	*dimension
	typed            string
	include, exclude []filterItem
}

type filterItem struct {
	text    string
	matches func(*socket) bool
}

// parseFilter reads a list of items, which may be excluded.
func parseFilter(d *dimension, lists []string) (filter, error) {
	f := filter{dimension: d, typed: strings.Join(lists, ",")}
	if err := checkBlanks(lists); err != nil {
		return filter{}, err
	}
	for _, typed := range splitLists(lists) {
		text, isExcluded := cutExclusion(typed)
		matches, err := d.item(text)
		if err != nil {
			return filter{}, err
		}
		if isExcluded {
			f.exclude = append(f.exclude, filterItem{text, matches})
		} else {
			f.include = append(f.include, filterItem{text, matches})
		}
	}
	return f, nil
}

func (f *filter) asks(s *socket) answer {
	matches := func(item filterItem) bool { return item.matches(s) }
	switch {
	case f.isHidden(s) && f.dependsOnHidden():
		return maybe
	case f.isRemote && s.Raddr.Port == 0: // there is no peer
		return no
	case slices.ContainsFunc(f.exclude, matches) || len(f.include) > 0 && !slices.ContainsFunc(f.include, matches):
		return no
	}
	return yes
}

// dependsOnHidden tells whether it matters what is behind a hidden value: not
// where the filter is about hidden values itself, or about none.
func (f *filter) dependsOnHidden() bool {
	isHiddenItem := func(item filterItem) bool { return item.text == hidden }
	isToldItem := func(item filterItem) bool { return isTold(item.text) }
	return !slices.ContainsFunc(f.include, isHiddenItem) && !slices.ContainsFunc(f.exclude, isHiddenItem) &&
		(slices.ContainsFunc(f.include, isToldItem) || slices.ContainsFunc(f.exclude, isToldItem))
}
