package main

import (
	"cmp"
	"fmt"
	stdnet "net"
	"slices"
	"strconv"
	"strings"

	"github.com/NETWAYS/go-check"
)

const (
	maxCulpritGroups = 3       // groups whose holders and peers are told
	maxCulprits      = 5       // holders and peers of each
	maxPeers         = 1 << 12 // so many are kept at the most while counting
)

// tooManyPeers stands for the peers that are not kept.
var tooManyPeers = fmt.Sprintf("more than %d", maxPeers)

// violation is a group that has sockets and is not OK.
type violation struct {
	text    string
	tally   *tally // of its sockets
	sockets int
	state   check.Status
}

// violations returns the groups whose holders and peers are told, the worst
// state and then the most sockets first.
func (c *Config) violations(r *results) []violation {
	var all []violation
	for _, g := range r.groups {
		if g.least != check.OK && g.known > 0 {
			all = append(all, violation{c.Levels.by.text(g.key), c.Question.tallyOf(c.Levels.by, g.key), g.known, g.least})
		}
	}
	if r.total.least != check.OK && r.sockets > 0 {
		all = append(all, violation{totalGroup, c.Question.tally(nil), r.sockets, r.total.least})
	}
	slices.SortStableFunc(all, func(a, b violation) int {
		return cmp.Or(cmp.Compare(b.state, a.state), cmp.Compare(b.sockets, a.sockets))
	})
	return all[:min(len(all), maxCulpritGroups)]
}

// culprits returns who holds the sockets of the violations, and where they go, a
// line each, and with tellHidden how many holders this user may not see. It
// reads the sockets once more, which only a violation is worth.
func culprits(dumps func([]*tally) []dump, all []violation, tellHidden bool) ([]string, error) {
	var tallies []*tally
	for _, v := range all {
		tallies = append(tallies, v.holders(), v.peers())
	}
	found, err := count(dumps(tallies), tallies...)
	if err != nil {
		return nil, err
	}
	var lines []string
	unseen := 0
	for i, v := range all {
		held, met := found.counts[2*i], found.counts[2*i+1]
		if text := mostText(held, holderText); text != "" {
			lines = append(lines, v.text+" held by: "+text)
		}
		if text := mostText(met, peerText); text != "" {
			lines = append(lines, v.text+" peers: "+text)
		}
		for _, r := range held.rows {
			if strings.HasPrefix(r.key, hidden+keySeparator) {
				unseen += r.known
			}
		}
	}
	if tellHidden && unseen > 0 {
		lines = append(lines, blindSpot{dimension: byProcess, sockets: unseen}.text())
	}
	return lines, nil
}

// holders returns the tally of the sockets by process and user.
func (v violation) holders() *tally {
	t := *v.tally
	t.fields |= fieldProcess | fieldUser
	t.key = func(to []byte, s *Socket) []byte {
		to = append(append(to, s.Process...), keySeparator...)
		to = append(strconv.AppendInt(to, int64(s.Pid), 10), keySeparator...)
		return append(to, s.User...)
	}
	return &t
}

// holderText returns "process[pid] (user)", "" where nothing is known.
func holderText(key string) string {
	values := strings.Split(key, keySeparator)
	text, pid, user := byProcess.shown(values[0]), values[1], values[2]
	if number, _ := strconv.Atoi(pid); number > 0 {
		text += "[" + pid + "]"
	}
	if isTold(user) {
		return text + " (" + byUser.shown(user) + ")"
	}
	if text == hidden {
		return ""
	}
	return text
}

// peers returns the tally of the connections by their other end. The port of a
// peer that came to us says nothing.
func (v violation) peers() *tally {
	t := *v.tally
	t.fields |= fieldRemoteAddress | fieldRemotePort | fieldDirection
	t.most = maxPeers
	t.asks = func(s *Socket) answer {
		if s.Raddr.Port == 0 || s.Raddr.Port >= portHidden {
			return no
		}
		return v.tally.asks(s)
	}
	t.key = func(to []byte, s *Socket) []byte {
		to = append(append(to, s.Raddr.IP...), keySeparator...)
		if s.CameIn {
			return append(to, '*')
		}
		return byRemotePort.append(to, s)
	}
	return &t
}

func peerText(key string) string {
	address, port, _ := strings.Cut(key, keySeparator)
	return stdnet.JoinHostPort(address, port)
}

// mostText lists those with most sockets, most first. Where not all were kept,
// only those that no other one can have more of.
func mostText(found *counts, text func(key string) string) string {
	named := map[string]int{}
	for _, r := range found.rows {
		if name := text(r.key); name != "" && r.known > found.others.known {
			named[name] += r.known
		}
	}
	if found.others.known > 0 && len(named) == 0 {
		return tooManyPeers
	}
	names := make([]string, 0, len(named))
	for name := range named {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(named[b], named[a]), cmp.Compare(a, b)) })
	var texts []string
	for _, name := range names[:min(len(names), maxCulprits)] {
		texts = append(texts, fmt.Sprintf("%s %d", name, named[name]))
	}
	return strings.Join(texts, ", ")
}
