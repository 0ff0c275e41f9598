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

var dimensions = [...]Dimension{
	byType, byStatus, byProcess, byUser, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort, byNetns,
}

// Values for what cannot be told.
const (
	unseen  = "?" // exists, but this user may not see it, or the record does not carry it
	nothing = "-" // does not exist: no process holds the socket, or it has no peer
)

// isTold tells whether a value is one, and neither unseen nor nothing.
func isTold(value string) bool { return value != unseen && value != nothing }

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
	Unseen string // the label of the group that sockets of this one are in where their process is not seen; may be ""
	Count  int
}

// folded returns the name of a group as names are compared: in any case, and with
// the underscores of the label as the spaces of the text.
func folded(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "_")) }

// is tells whether both are groups of the same name.
func (g Group) is(other Group) bool { return folded(g.Label) == folded(other.Label) }

// isTotal tells whether this is the sum over all groups, which has a label that
// no group has.
func (g Group) isTotal() bool { return g.Label == "" }

// compareGroups sorts the group with most sockets first, equal ones in the
// order of the types, then of the names.
func compareGroups(a, b Group) int {
	switch {
	case a.Count != b.Count:
		return cmp.Compare(b.Count, a.Count)
	case a.Type != b.Type:
		return cmp.Compare(slices.Index(socketTypes, a.Type), slices.Index(socketTypes, b.Type))
	case a.Status != b.Status:
		return cmp.Compare(a.Status, b.Status)
	}
	return cmp.Compare(a.Label, b.Label)
}

// names turns the numbers of owners into names that are fit for texts and
// labels, or unseen or nothing.
type names interface {
	process(pid int32) string
	user(uid int64, pid int32) string
}

// key is what a record says of the group that it belongs to. What the grouping
// and the filters do not need is left empty.
type key struct {
	family, kind                uint32
	status                      string
	pid                         int32
	uid                         int64 // uint32, or uidUnseen or uidNothing
	localAddress, remoteAddress string
	portPair
}

// portPair is the ports of a record.
type portPair struct{ local, remote uint32 }

// counts are numbers of sockets by key. There can be as many keys as there are
// ports, but these differ in little else: what they share is kept once, and
// what is kept for each has no pointers that would have to be followed when
// memory is collected.
type counts struct {
	keys      []key         // without ports
	indexes   map[key]int32 // of the keys
	last      key           // of the keys, with the index lastIndex
	lastIndex int32
	sockets   map[portsOf]int
}

// portsOf are ports with the index of the key that they belong to.
type portsOf struct {
	index int32
	portPair
}

func (c *counts) add(k key, sockets int) {
	ports := k.portPair
	k.portPair = portPair{}
	// Sockets with the same key come in long runs.
	if k != c.last || len(c.keys) == 0 {
		index, known := c.indexes[k]
		if !known {
			index = int32(len(c.keys))
			c.keys = append(c.keys, k.canonical())
			c.indexes[k] = index
		}
		c.last, c.lastIndex = k, index
	}
	c.sockets[portsOf{c.lastIndex, ports}] += sockets
}

// all yields the keys, which are canonical, in no order.
func (c *counts) all() iter.Seq2[key, int] {
	return func(yield func(key, int) bool) {
		for at, sockets := range c.sockets {
			k := c.keys[at.index]
			k.portPair = at.portPair
			if !yield(k, sockets) {
				return
			}
		}
	}
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
	needs    needs                                  // what keys have of owners
	accepts  func(net.ConnectionStat) (bool, error) // nil for all
}

// of counts the records. An error among them is returned at once: half a
// reading is no reading.
func (t tally) of(records iter.Seq2[net.ConnectionStat, error]) (*counts, error) {
	all := &counts{indexes: map[key]int32{}, sockets: map[portsOf]int{}}
	var last key
	run := 0
	for record, err := range records {
		if err != nil {
			return nil, err
		}
		accepted, err := t.isAccepted(record)
		if err != nil {
			return nil, err
		}
		if !accepted {
			continue
		}
		next := t.key(record)
		if next != last && run > 0 {
			all.add(last, run)
			run = 0
		}
		last = next
		run++
	}
	if run > 0 {
		all.add(last, run)
	}
	return all, nil
}

func (t tally) isAccepted(record net.ConnectionStat) (bool, error) {
	if t.accepts == nil {
		return true, nil
	}
	return t.accepts(record)
}

func (t tally) key(record net.ConnectionStat) key {
	k := key{family: record.Family, kind: record.Type, status: record.Status}
	if t.needs.process {
		k.pid = record.Pid
	}
	if t.needs.user {
		switch {
		case len(record.Uids) > 0 && record.Uids[0] != uidNothing:
			k.uid = int64(uint32(record.Uids[0]))
		case len(record.Uids) > 0 || record.Pid == pidNothing:
			k.uid = uidNothing
		default:
			k.uid = uidUnseen
		}
	}
	for _, dimension := range t.grouping {
		switch dimension {
		case byLocalAddress:
			k.localAddress = record.Laddr.IP
		case byLocalPort:
			k.portPair.local = record.Laddr.Port
		case byRemoteAddress:
			if record.Raddr.Port != 0 {
				k.remoteAddress = record.Raddr.IP
			}
		case byRemotePort:
			k.portPair.remote = record.Raddr.Port
		}
	}
	return k
}

// canonical returns the key with the canonical name of its status.
func (k key) canonical() key {
	if k.kind == sockDgram || k.status == "" {
		k.status = statusNone
		return k
	}
	status, _ := canonicalStatus(k.status)
	k.status = outsideName(status)
	return k
}

// socketType returns the type of the sockets with this key, "" where they do
// not count.
func (k key) socketType() string { return socketType(k.family, k.kind) }

// group returns the group of the sockets with this key, a canonical one, in a
// part of the host.
func (g Grouping) group(k key, part part) Group {
	var values [len(dimensions)]string
	for i, dimension := range g {
		switch dimension {
		case byType:
			values[i] = k.socketType()
		case byStatus:
			values[i] = k.status
		case byProcess:
			values[i] = processName(k, part)
		case byUser:
			values[i] = userName(k, part)
		case byLocalAddress:
			values[i] = addressText(k.localAddress)
		case byRemoteAddress:
			values[i] = addressText(k.remoteAddress)
		case byLocalPort:
			values[i] = portText(k.portPair.local)
		case byRemotePort:
			if values[i] = nothing; k.portPair.remote != 0 {
				values[i] = portText(k.portPair.remote)
			}
		case byNetns:
			values[i] = cmp.Or(part.netns, unseen)
		}
	}
	return g.named(values[:len(g)])
}

// unseenLabel returns the label of the group that the sockets with this key were
// in if their owner was not seen, "" where none can be.
func (g Grouping) unseenLabel(k key, part part) string {
	switch {
	case g.has(byProcess) && k.pid != pidNothing:
		k.pid = pidUnseen
	case g.has(byUser) && k.uid != uidNothing && thisSystem == "linux":
		k.uid = uidUnseen
	default:
		return ""
	}
	return g.group(k, part).Label
}

// named returns the group, without a socket, that has a value for each
// dimension.
func (g Grouping) named(values []string) Group {
	var group Group
	for i, dimension := range g {
		text, label := values[i], labelOf(values[i])
		switch dimension {
		case byType:
			group.Type = values[i]
		case byStatus:
			group.Status = values[i]
			text = strings.ReplaceAll(text, "_", " ")
		}
		if i == 0 {
			group.Text, group.Label = text, label
			continue
		}
		group.Label += "_" + label
		// A port next to its address is written as usual.
		if g.isPair(i-1) && isTold(text) {
			space := strings.LastIndex(group.Text, " ") + 1
			group.Text = group.Text[:space] + stdnet.JoinHostPort(group.Text[space:], text)
		} else if !g.isPair(i - 1) {
			group.Text += " " + text
		}
	}
	return group
}

// isPair tells whether there is an address at the index, and its port behind it.
func (g Grouping) isPair(i int) bool {
	return i+1 < len(g) && (g[i] == byLocalAddress && g[i+1] == byLocalPort || g[i] == byRemoteAddress && g[i+1] == byRemotePort)
}

// parse reads the name of a group, as it is in performance data or in a text, in
// any case, and calls yield with the value for each dimension. Names of processes
// may have underscores too: then there are several ways to read it. It returns
// false when yield has.
func (g Grouping) parse(name string, yield func(values []string) bool) bool {
	if strings.Count(name, "_")+strings.Count(name, " ")+strings.Count(name, ":") > maxSeparators {
		return true
	}
	if len(g) == 1 {
		value, ok := g[0].parse(name)
		return !ok || yield([]string{value})
	}
	// The longest first: close_wait and not close.
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] != '_' && name[i] != ' ' && !(name[i] == ':' && g.isPair(0)) {
			continue
		}
		value, ok := g[0].parse(name[:i])
		if ok && !g[1:].parse(name[i+1:], func(values []string) bool { return yield(append([]string{value}, values...)) }) {
			return false
		}
	}
	return true
}

// maxSeparators is how many there may be in the name of a group: each could be
// between two values.
const maxSeparators = 50

// parse reads a value as somebody typed it; false for one that the dimension
// cannot have.
func (d Dimension) parse(text string) (value string, ok bool) {
	switch {
	case text == unseen && d != byType && d != byStatus:
		return unseen, true
	case text == nothing && d != byType && d != byStatus && d != byNetns && d != byLocalPort:
		return nothing, true
	}
	switch d {
	case byType:
		return knownType(text)
	case byStatus:
		return canonicalStatus(strings.ReplaceAll(text, " ", "_"))
	case byLocalPort, byRemotePort:
		ports, ok := parsePortRange(text)
		return portText(ports.first), ok && ports.first == ports.last
	case byLocalAddress, byRemoteAddress:
		if text == "*" { // macOS has it for any
			return text, true
		}
		address, err := netip.ParseAddr(strings.Trim(text, "[]"))
		return addressText(address.String()), err == nil && address.Zone() == ""
	}
	return outsideName(text), text != ""
}

func processName(k key, part part) string {
	if k.pid == pidNothing {
		return nothing
	}
	if k.pid == pidUnseen || part.names == nil {
		return unseen
	}
	return part.names.process(k.pid)
}

func userName(k key, part part) string {
	switch {
	case k.uid == uidNothing:
		return nothing
	case k.uid == uidUnseen && (thisSystem == "linux" || part.names == nil): // elsewhere a user is that of a process
		return unseen
	case part.names != nil:
		return part.names.user(k.uid, k.pid)
	}
	return strconv.FormatInt(k.uid, 10)
}

// outsideName returns a name that others have chosen, fit for texts and labels.
// A colon goes because two of them have a meaning in labels.
func outsideName(name string) string {
	name = strings.TrimSpace(strings.ReplaceAll(printable(name), ":", "_"))
	switch strings.ToLower(name) {
	case "", unseen, nothing, totalGroup, ephemeralGroup, ephemeralLabel:
		return "_" + name // these have a meaning of their own
	}
	return name
}

// addressText returns an address in its usual form, an IPv4-mapped one as IPv4,
// and nothing for none.
func addressText(text string) string {
	if text == "" {
		return nothing
	}
	if text == unseen {
		return unseen
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return outsideName(text) // macOS has * for any
	}
	return address.Unmap().WithZone("").String()
}

// portUnseen stands for a port that a record does not carry.
const portUnseen = 1 << 16

func portText(port uint32) string {
	if port >= portUnseen {
		return unseen
	}
	return strconv.Itoa(int(port))
}

// labelOf returns a value as part of a label. An IPv6 address is written in
// full: Icinga 2 takes "::" in a label for the prefix of all labels that follow
// (check_multi's format).
func labelOf(value string) string {
	if !strings.Contains(value, "::") {
		return value
	}
	address, err := netip.ParseAddr(value)
	if err != nil {
		return value
	}
	bytes := address.As16()
	fields := make([]string, 8)
	for i := range fields {
		fields[i] = fmt.Sprintf("%x", uint16(bytes[2*i])<<8|uint16(bytes[2*i+1]))
	}
	return strings.Join(fields, ":")
}
