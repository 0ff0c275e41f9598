package main

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	stdnet "net"
	"slices"
	"strconv"
	"strings"

	"github.com/NETWAYS/go-check"
	"github.com/shirou/gopsutil/v3/net"
)

const (
	maxCulpritGroups = 3       // groups whose holders and peers are told
	maxCulprits      = 5       // holders and peers of each
	maxPeers         = 1 << 12 // so many are kept at the most while counting
)

// tooManyPeers stands for the peers that are not kept.
var tooManyPeers = fmt.Sprintf("more than %d", maxPeers)

// culprits returns who holds the sockets of the groups, and where they go, a
// line each. It reads the sockets once more, which only a violation is worth.
func culprits(parts func(Config) []part, groups []Group, config Config) ([]string, error) {
	listening, err := listeners(parts, config)
	if err != nil {
		return nil, err
	}
	found := make([]suspects, len(groups))
	for i := range found {
		found[i] = suspects{holders: map[string]int{}, peers: map[string]int{}}
	}
	wanted := config
	wanted.withOwners = true
	if config.By.has(byStatus) && !slices.ContainsFunc(groups, Group.isTotal) {
		wanted.Selection.Statuses = nil
		for _, group := range groups {
			wanted.Selection.Statuses = append(wanted.Selection.Statuses, group.Status)
		}
	}
	var reading Reading
	for _, part := range parts(wanted) {
		counts, _, failures := read(part, func(records iter.Seq2[net.ConnectionStat, error]) (*map[suspect]int, error) {
			return tallySuspects(records, part, groups, listening, config)
		})
		if counts == nil {
			return nil, unreadable(part, failures)
		}
		for s, sockets := range *counts {
			if s.isPeer {
				found[s.group].peers[s.peer] += sockets
				continue
			}
			if s.pid == pidUnseen {
				reading.Unseen += sockets
			}
			if holder := holderText(s, part); holder != "" {
				found[s.group].holders[holder] += sockets
			}
		}
	}
	var lines []string
	for i, group := range groups {
		if len(found[i].holders) > 0 {
			lines = append(lines, group.Text+" held by: "+mostText(found[i].holders))
		}
		if len(found[i].peers) > 0 {
			lines = append(lines, group.Text+" peers: "+peersText(found[i].peers))
		}
	}
	if reading.Unseen > 0 && config.Recording == nil && !config.needs().process {
		lines = append(lines, reading.unseenText(config))
	}
	return lines, nil
}

// worstGroups returns the groups in violation that have sockets, the worst
// state and then the most sockets first.
func worstGroups(items []Item) []Group {
	var violations []Item
	for _, item := range items {
		if item.State != check.OK && item.Group.Count > 0 {
			violations = append(violations, item)
		}
	}
	slices.SortStableFunc(violations, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.State, a.State), cmp.Compare(b.Group.Count, a.Group.Count))
	})
	var groups []Group
	for _, item := range violations[:min(len(violations), maxCulpritGroups)] {
		groups = append(groups, item.Group)
	}
	return groups
}

// suspects has how many sockets of a group each one has.
type suspects struct{ holders, peers map[string]int }

// suspect is a holder or a peer of sockets of a group.
type suspect struct {
	group  int
	isPeer bool
	pid    int32 // of a holder
	uid    int64
	peer   string // address and port
}

// tallySuspects counts the sockets of the groups by their holders, and by their
// peers.
func tallySuspects(records iter.Seq2[net.ConnectionStat, error], part part, groups []Group, listening listenerSet, config Config) (*map[suspect]int, error) {
	sockets := map[suspect]int{}
	indexes := map[key][]int{} // of the groups that the sockets with a key are in
	tally := config.tally()
	owners := tally
	owners.needs = needs{process: true, user: true}
	owners.grouping = nil
	peers := map[peer]string{}
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		accepted, err := tally.isAccepted(record)
		if err != nil {
			return nil, err
		}
		if !accepted {
			continue
		}
		k := tally.key(record)
		in, known := indexes[k]
		if !known {
			k := k.canonical()
			if config.selects(k) && config.Filter.matchesUser(k, part) && config.Filter.matchesProcess(k, part) {
				in = indexesOf(config.By.group(k, part), groups)
			}
			indexes[k] = in
		}
		owner := owners.key(record)
		for _, index := range in {
			sockets[suspect{group: index, pid: owner.pid, uid: owner.uid}]++
		}
		if len(in) == 0 || record.Raddr.Port == 0 || record.Raddr.Port == portUnseen {
			continue
		}
		// The port of a peer that came to us says nothing.
		end := peer{record.Raddr.IP, record.Raddr.Port}
		if listening.accepted(part.space, record) {
			end.port = 0
		}
		text, known := peers[end]
		switch {
		case !known && len(peers) == maxPeers:
			text = tooManyPeers
		case !known:
			text = end.text()
			peers[end] = text
		}
		for _, index := range in {
			sockets[suspect{group: index, isPeer: true, peer: text}]++
		}
	}
	return &sockets, nil
}

// indexesOf returns which of the groups have the sockets of one group: that
// one, and the total.
func indexesOf(group Group, groups []Group) []int {
	var indexes []int
	for i, candidate := range groups {
		if candidate.Label == group.Label || candidate.isTotal() {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// peer is the other end of connections, with the port 0 for any.
type peer struct {
	address string
	port    uint32
}

func (p peer) text() string {
	port := "*"
	if p.port != 0 {
		port = strconv.Itoa(int(p.port))
	}
	return stdnet.JoinHostPort(addressText(p.address), port)
}

// holderText returns "process[pid] (user)", or "" where nothing is known.
func holderText(s suspect, part part) string {
	k := key{pid: s.pid, uid: s.uid}
	text := processName(k, part)
	if s.pid > 0 {
		text += "[" + strconv.Itoa(int(s.pid)) + "]"
	}
	switch user := userName(k, part); {
	case isTold(user):
		text += " (" + user + ")"
	case text == unseen:
		return ""
	}
	return text
}

// peersText lists the peers with most sockets. Where not all were kept, only
// those that no other one can have more of.
func peersText(counts map[string]int) string {
	others := counts[tooManyPeers]
	certain := maps.Clone(counts)
	maps.DeleteFunc(certain, func(peer string, sockets int) bool { return peer == tooManyPeers || sockets <= others })
	if len(certain) == 0 {
		return tooManyPeers
	}
	return mostText(certain)
}

// mostText lists those with most sockets, most first.
func mostText(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var texts []string
	for _, name := range names[:min(len(names), maxCulprits)] {
		texts = append(texts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(texts, ", ")
}
