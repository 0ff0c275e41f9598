package main

import (
	"cmp"
	"fmt"
	"iter"
	stdnet "net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/net"
)

// Dimension is something that sockets are grouped by.
type Dimension string

// The dimensions of --by.
const (
	byType          Dimension = "type"
	byStatus        Dimension = "status"
	byProcess       Dimension = "process"
	byUser          Dimension = "user"
	byLocalAddress  Dimension = "local-address"
	byLocalPort     Dimension = "local-port"
	byRemoteAddress Dimension = "remote-address"
	byRemotePort    Dimension = "remote-port"
	byNetns         Dimension = "netns"
)

var dimensions = []Dimension{
	byType, byStatus, byProcess, byUser, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort, byNetns,
}

// Values for what cannot be told.
const (
	unseen  = "?" // exists, but this user may not see it, or the record does not carry it
	nothing = "-" // does not exist: no process holds the socket, or it has no peer
)

// Numbers in a record or a key for what cannot be told.
const (
	pidUnseen  = 0 // gopsutil has it so
	pidNothing = -1
	uidUnseen  = -2
	uidNothing = -1
)

// Grouping is the list of dimensions that the name of a group is made of.
type Grouping []Dimension

var defaultGrouping = Grouping{byType, byStatus}

func (g Grouping) has(d Dimension) bool { return slices.Contains(g, d) }

// isPlain tells whether only the type and the status make a group: then there
// are few groups, known beforehand.
func (g Grouping) isPlain() bool {
	return !slices.ContainsFunc(g, func(d Dimension) bool { return d != byType && d != byStatus })
}

// Group is a set of sockets that are counted together.
type Group struct {
	Type   string // "" where the grouping has no type
	Status string // "" where the grouping has no status
	Text   string // names it for a person
	Label  string // names it in performance data and in thresholds
	Alias  string // the label with addresses in their usual form
	Count  int
}

// is tells whether the group has that name, in any case.
func (g Group) is(name string) bool {
	return strings.EqualFold(g.Label, name) || strings.EqualFold(g.Alias, name)
}

// isTotal tells whether this is the sum over all groups, which has a label that
// no group has.
func (g Group) isTotal() bool { return g.Label == "" }

// compareGroups sorts the group with most sockets first, equal ones in the
// order of the types, then of the names.
func compareGroups(a, b Group) int {
	return cmp.Or(
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(slices.Index(socketTypes, a.Type), slices.Index(socketTypes, b.Type)),
		cmp.Compare(a.Status, b.Status),
		cmp.Compare(a.Label, b.Label),
	)
}

// names turns the numbers of owners into names.
type names interface {
	process(pid int32) string // the name or unseen
	user(uid, pid int32) string
}

// key is what a record says of the group that it belongs to. What the grouping
// and the filters do not need is left empty.
type key struct {
	family, kind                uint32
	status                      string
	pid, uid                    int32
	localAddress, remoteAddress string
	localPort, remotePort       uint32
}

// needs says which fields of a record are needed besides family, type, status
// and ports.
type needs struct {
	process, user, localAddress, remoteAddress bool
}

// tally counts records by key. Names are looked up and spellings folded once
// for each key, not once for each record.
type tally struct {
	grouping Grouping
	needs    needs                         // what keys have of owners
	accepts  func(net.ConnectionStat) bool // nil for all
}

// of counts the records. An error among them is returned at once: half a
// reading is no reading.
func (t tally) of(records iter.Seq2[net.ConnectionStat, error]) (map[key]int, error) {
	counts := map[key]int{}
	var last key // the sockets of a kind come in long runs
	run := 0
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		if t.accepts != nil && !t.accepts(record) {
			continue
		}
		next := t.key(record)
		if next != last && run > 0 {
			counts[last] += run
			run = 0
		}
		last = next
		run++
	}
	if run > 0 {
		counts[last] += run
	}
	return counts, nil
}

func (t tally) key(record net.ConnectionStat) key {
	k := key{family: record.Family, kind: record.Type, status: record.Status}
	if t.needs.process {
		k.pid = record.Pid
	}
	if t.needs.user {
		if k.uid = uidUnseen; len(record.Uids) > 0 {
			k.uid = record.Uids[0]
		}
	}
	for _, dimension := range t.grouping {
		switch dimension {
		case byLocalAddress:
			k.localAddress = record.Laddr.IP
		case byLocalPort:
			k.localPort = record.Laddr.Port
		case byRemoteAddress:
			if k.remoteAddress = record.Raddr.IP; record.Raddr.Port == 0 {
				k.remoteAddress = ""
			}
		case byRemotePort:
			k.remotePort = record.Raddr.Port
		}
	}
	return k
}

// kindOf returns the type and the status of the sockets with this key; the type
// is "" where they do not count.
func (k key) kindOf() (socketTypeName, status string) {
	socketTypeName = socketType(k.family, k.kind)
	status = statusNone
	if socketTypeName != "" && !isUDP(socketTypeName) && k.status != "" {
		status, _ = canonicalStatus(k.status)
		status = printable(status)
	}
	return socketTypeName, status
}

// group returns the group of the sockets with this key in a part of the host.
func (g Grouping) group(k key, part part) Group {
	socketType, status := k.kindOf()
	var group Group
	var texts, labels, aliases []string
	for i, dimension := range g {
		text := ""
		switch dimension {
		case byType:
			group.Type, text = socketType, socketType
		case byStatus:
			group.Status, text = status, status
		case byProcess:
			text = processName(k, part)
		case byUser:
			text = userName(k, part)
		case byLocalAddress:
			text = addressText(k.localAddress)
		case byRemoteAddress:
			text = addressText(k.remoteAddress)
		case byLocalPort:
			text = strconv.Itoa(int(k.localPort))
		case byRemotePort:
			if text = nothing; k.remotePort != 0 {
				text = strconv.Itoa(int(k.remotePort))
			}
		case byNetns:
			text = outsideName(part.netns)
		}
		labels = append(labels, labelOf(text))
		aliases = append(aliases, text)
		previous := Dimension("")
		if i > 0 {
			previous = g[i-1]
		}
		switch {
		case dimension == byStatus:
			texts = append(texts, strings.ReplaceAll(text, "_", " "))
		case dimension == byLocalPort && previous == byLocalAddress, dimension == byRemotePort && previous == byRemoteAddress:
			if text != nothing {
				texts[len(texts)-1] = stdnet.JoinHostPort(texts[len(texts)-1], text)
			}
		default:
			texts = append(texts, text)
		}
	}
	group.Text = strings.Join(texts, " ")
	group.Label = strings.Join(labels, "_")
	group.Alias = strings.Join(aliases, "_")
	return group
}

func processName(k key, part part) string {
	if k.pid == pidNothing {
		return nothing
	}
	if k.pid == pidUnseen || part.names == nil {
		return unseen
	}
	return outsideName(part.names.process(k.pid))
}

func userName(k key, part part) string {
	switch {
	case k.uid == uidNothing:
		return nothing
	case part.names != nil:
		return outsideName(part.names.user(k.uid, k.pid))
	case k.uid == uidUnseen:
		return unseen
	}
	return strconv.Itoa(int(k.uid))
}

// outsideName returns a name that others have chosen, fit for texts and labels.
// A colon goes because two of them have a meaning in labels.
func outsideName(name string) string {
	return cmp.Or(strings.TrimSpace(strings.ReplaceAll(printable(name), ":", "_")), "_")
}

// addressText returns an address in its usual form, an IPv4-mapped one as IPv4,
// and nothing for none.
func addressText(text string) string {
	if text == "" {
		return nothing
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return outsideName(text) // macOS has * for any
	}
	return address.Unmap().WithZone("").String()
}

// labelOf returns a value as part of a label. An IPv6 address is written in
// full: Icinga 2 takes "::" in a label for the prefix of all labels that follow
// (check_multi's format).
func labelOf(value string) string {
	address, err := netip.ParseAddr(value)
	if err != nil || !strings.Contains(value, "::") {
		return value
	}
	bytes := address.As16()
	fields := make([]string, 8)
	for i := range fields {
		fields[i] = fmt.Sprintf("%x", uint16(bytes[2*i])<<8|uint16(bytes[2*i+1]))
	}
	return strings.Join(fields, ":")
}
