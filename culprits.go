package main

import (
	"cmp"
	"fmt"
	"maps"
	stdnet "net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/NETWAYS/go-check"
)

const (
	maxCulpritGroups = 3       // groups whose holders and peers are told
	maxCulprits      = 5       // holders and peers of each
	maxPeers         = 1 << 12 // kept at most while counting
	maxProcesses     = 3       // process ids of a holder that are told
)

// violation is something that has sockets and is not OK.
type violation struct {
	text    string
	tally   *tally // of its sockets
	sockets int
	state   check.Status
	key     string  // of a group
	figure  *figure // or what else it is
}

// violations returns what the holders and the peers are told of, the worst state
// and then the most sockets first.
func (q *question) violations(by grouping, r *results) []violation {
	var all []violation
	add := func(v violation) {
		if v.state != check.OK && v.sockets > 0 && v.tally != nil {
			all = append(all, v)
		}
	}
	for i := range r.groups {
		g := &r.groups[i]
		if g.least != check.OK {
			add(violation{text: by.text(g.key), key: g.key, tally: q.tallyOf(by, g.key), sockets: g.known, state: g.least})
		}
	}
	for i := range r.limits {
		l := &r.limits[i]
		add(violation{text: l.name, tally: l.users, sockets: l.sockets, state: l.least, figure: l})
	}
	add(violation{text: totalGroup, tally: q.tally(nil), sockets: r.sockets, state: r.total.least, figure: &r.total})
	slices.SortStableFunc(all, func(a, b violation) int {
		return cmp.Or(cmp.Compare(b.state, a.state), cmp.Compare(b.sockets, a.sockets))
	})
	return all[:min(len(all), maxCulpritGroups)]
}

// culprits returns who holds the sockets of the violations, where they go and
// since when, a line each, and with tellHidden how many holders this user may not
// see, and who has most of the first one. It reads the sockets once more, which
// only a violation is worth.
func culprits(dumps func([]*tally) []dump, all []violation, tellHidden bool) (lines []string, most string, err error) {
	var tallies []*tally
	for _, v := range all {
		tallies = append(tallies, v.holders(), v.peers(), v.idle())
	}
	tallies = append(tallies, unseenIn(all))
	found, err := count(dumps(tallies), tallies...)
	if err != nil {
		return nil, "", err
	}
	for i, v := range all {
		held := holdersOf(found.counts[3*i])
		if i == 0 {
			most = held.blame(v.figure != nil && v.figure.isNameOnly)
		}
		for _, line := range []struct{ title, text string }{
			{"held by", held.text(v.figure != nil)}, {"peers", peersText(found.counts[3*i+1])}, {"idle", idleText(found.counts[3*i+2])},
		} {
			if line.text != "" {
				lines = append(lines, v.text+" "+line.title+": "+line.text)
			}
		}
	}
	if unknown, _ := found.counts[3*len(all)].sum(); tellHidden && unknown > 0 {
		lines = append(lines, blindSpot{dimension: byProcess, sockets: unknown}.text())
	}
	return lines, most, nil
}

// unseenIn counts the sockets of any of the violations, each once, of which nothing
// is known but perhaps the user. The bounds of one will do: each violation is counted
// beside it, with bounds of its own.
func unseenIn(all []violation) *tally {
	t := &tally{fields: fieldProcess | fieldUnitIfKnown, bounds: all[0].tally.bounds, key: func(to []byte, _ *socket) []byte { return to }}
	for _, v := range all {
		t.fields |= v.tally.fields
	}
	t.includes = func(socketType, status string) bool {
		return slices.ContainsFunc(all, func(v violation) bool { return v.tally.includes(socketType, status) })
	}
	t.asks = func(s *socket) answer {
		isOne := func(v violation) bool { return v.tally.asks(s) == yes }
		return sure(s.process == hidden && !hasName(s.unit) && slices.ContainsFunc(all, isOne))
	}
	return t
}

// peers counts the connections by their other end. The port of a peer that came
// to us says nothing; where it came in does.
func (v violation) peers() *tally {
	t := *v.tally
	t.fields |= fieldRemoteAddress | fieldRemotePort | fieldLocalPort | fieldDirection
	t.most = maxPeers
	t.asks = func(s *socket) answer {
		if s.Raddr.Port == 0 || s.Raddr.Port >= portHidden {
			return no
		}
		return v.tally.asks(s)
	}
	t.key = func(to []byte, s *socket) []byte {
		to = append(append(to, s.Raddr.IP...), keySeparator...)
		if s.direction != directionIn {
			return byRemotePort.append(append(to, keySeparator...), s)
		}
		to = append(append(to, s.listener...), keySeparator...)
		return append(byLocalPort.append(to, s), keySeparator...)
	}
	return &t
}

func peersText(found *counts) string {
	sockets := map[string]int{}
	for _, r := range found.rows {
		values := strings.Split(r.key, keySeparator)
		name := "to " + stdnet.JoinHostPort(values[0], values[2])
		if isIn := len(values) > 3; isIn && values[1] == "" {
			name = "from " + values[0] + " at :" + values[2]
		} else if isIn {
			name = "from " + values[0] + " at " + stdnet.JoinHostPort(values[1], values[2])
		}
		sockets[name] += r.known
	}
	return mostText(sockets, found.others.known, ", ")
}

// mostFirst returns the names, that of most sockets first.
func mostFirst(sockets map[string]int) []string {
	return slices.SortedFunc(maps.Keys(sockets), func(a, b string) int { return cmp.Or(cmp.Compare(sockets[b], sockets[a]), cmp.Compare(a, b)) })
}

// mostText lists the names with most sockets, and how many more there are. What
// is behind a keySeparator in a name goes behind the number. Where not all names
// were kept, only those are listed that no other one can have more of.
func mostText(sockets map[string]int, notKept int, separator string) string {
	var texts []string
	names, rest := mostFirst(sockets), notKept
	for i, name := range names {
		if i < maxCulprits && sockets[name] > notKept {
			title, behind, _ := strings.Cut(name, keySeparator)
			texts = append(texts, fmt.Sprintf("%s %d%s", title, sockets[name], behind))
		} else {
			rest += sockets[name]
		}
	}
	if more := len(names) - len(texts); notKept > 0 {
		texts = append(texts, fmt.Sprintf("more than %d others: %d", more, rest))
	} else if more > 0 {
		texts = append(texts, fmt.Sprintf("+%d more: %d", more, rest))
	}
	return strings.Join(texts, separator)
}

// idle counts the connections by the seconds since their last data.
func (v violation) idle() *tally {
	t := *v.tally
	t.fields |= fieldIdleIfKnown
	t.asks = func(s *socket) answer {
		if s.idle < 0 || !slices.Contains(openStatuses, s.Status) {
			return no
		}
		return v.tally.asks(s)
	}
	t.key = func(to []byte, s *socket) []byte {
		idle := s.idle
		if idle > time.Hour {
			idle = idle.Truncate(time.Minute)
		}
		return strconv.AppendInt(to, int64(idle/time.Second), 10)
	}
	return &t
}

// idleText tells an old leak from one that grows.
func idleText(found *counts) string {
	times := map[int]int{}
	var order []int
	recent := 0
	for _, r := range found.rows {
		seconds, _ := strconv.Atoi(r.key)
		times[seconds] = r.known
		order = append(order, seconds)
		if seconds < 60 {
			recent += r.known
		}
	}
	known, _ := found.sum()
	if known == 0 {
		return ""
	}
	slices.Sort(order)
	median, passed := 0, 0
	for _, seconds := range order {
		if passed += times[seconds]; 2*passed >= known {
			median = seconds
			break
		}
	}
	return fmt.Sprintf("longest %s, median %s, %d within the last minute", timeText(order[len(order)-1]), timeText(median), recent)
}

// timeText returns a number of seconds in its largest unit, and the next one.
func timeText(seconds int) string {
	switch minutes, hours := seconds/60, seconds/3600; {
	case minutes == 0:
		return fmt.Sprintf("%ds", seconds)
	case hours == 0:
		return fmt.Sprintf("%dm", minutes)
	case hours < 24:
		return fmt.Sprintf("%dh%dm", hours, minutes%60)
	default:
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	}
}
