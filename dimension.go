package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// dimension is something that can be asked about a socket. Its one row in
// dimensions serves --by, the filter of the same name and the names of groups.
type dimension struct {
	name  string
	help  string // for the filter
	needs fields // of a socket

	// One of these has the value.
	text func(*socket) *string
	port func(*socket) *uint32

	pattern string                                        // of a value in the name of a group, "" for statusPattern
	parse   func(text string) (value string, ok bool)     // reads a value in the name of a group
	item    func(text string) (func(*socket) bool, error) // reads an item of the filter, nil where there is none

	isFree   bool // the value is a name that others choose
	isRemote bool // of the peer, if there is one
}

var (
	byType = &dimension{name: "type",
		text: func(s *socket) *string { return &s.proto }, pattern: `(?:tcp|udp)[46]?`, parse: knownType}
	byStatus = &dimension{name: "status",
		text: func(s *socket) *string { return &s.Status }, parse: canonicalStatus}
	byProcess = &dimension{name: "process", needs: fieldProcess, help: "Count only sockets of processes of this `NAME`; * and ? as in a shell; not: in front excludes, as in every filter",
		text: func(s *socket) *string { return &s.process }, pattern: `.+`, parse: parseFreeName, item: processItem, isFree: true}
	byUser = &dimension{name: "user", needs: fieldUser, help: "Count only sockets made by this `USER`: a name or an id",
		text: func(s *socket) *string { return &s.user }, pattern: `.+`, parse: parseFreeName, item: userItem, isFree: true}
	byLocalAddress = &dimension{name: "local-address", needs: fieldLocalAddress, help: "Count only sockets on this local `ADDRESS` or network (10.0.0.0/8)",
		text: localAddress, pattern: addressPattern, parse: parseAddress, item: networkItem(localAddress)}
	byLocalPort = &dimension{name: "local-port", needs: fieldLocalPort, help: "Count only sockets on this local `PORT`: a number or a range (8000-8100)",
		port: localPort, pattern: `[0-9]+|\?`, parse: parsePort, item: portItem(localPort)}
	byRemoteAddress = &dimension{name: "remote-address", needs: fieldRemoteAddress, help: "Count only sockets whose peer has this `ADDRESS`, or is in this network",
		text: remoteAddress, pattern: addressPattern, parse: parseAddress, item: networkItem(remoteAddress), isRemote: true}
	byRemotePort = &dimension{name: "remote-port", needs: fieldRemotePort, help: "Count only sockets whose peer has this `PORT`: a number or a range",
		port: remotePort, pattern: `[0-9]+|[?-]`, parse: parsePort, item: portItem(remotePort), isRemote: true}
	byUnit = &dimension{name: "unit", needs: fieldUnit, help: "Count only sockets made by this systemd `UNIT` (nginx.service) or container; Linux",
		text: func(s *socket) *string { return &s.unit }, pattern: `.+`, parse: parseFreeName, item: unitItem, isFree: true}
	byDirection = &dimension{name: "direction", needs: fieldDirection, help: "Count only sockets in this `DIRECTION`: in (the peer connected), out, or listen",
		text: func(s *socket) *string { return &s.direction }, pattern: `in|out|listen|[?-]`, parse: parseDirection, item: directionItem}
	byNetns = &dimension{name: "netns", needs: fieldNetns,
		text: func(s *socket) *string { return &s.netns }, pattern: `.+`, parse: parseFreeName, isFree: true}
)

func localAddress(s *socket) *string  { return &s.Laddr.IP }
func remoteAddress(s *socket) *string { return &s.Raddr.IP }
func localPort(s *socket) *uint32     { return &s.Laddr.Port }
func remotePort(s *socket) *uint32    { return &s.Raddr.Port }

// dimensions are those of --by, in the order in which they are listed.
var dimensions = []*dimension{
	byType, byStatus, byProcess, byUser, byLocalAddress, byLocalPort, byRemoteAddress, byRemotePort, byNetns,
	byUnit, byDirection,
}

// addressPattern matches an address as it is in texts or in labels.
const addressPattern = `\[?[0-9a-f:.]+\]?|[0-9a-f]+(?:-[0-9a-f]+){7}|[*?-]`

// append appends the value that the socket has.
func (d *dimension) append(key []byte, s *socket) []byte {
	if d.text != nil {
		return append(key, *d.text(s)...)
	}
	switch port := *d.port(s); {
	case port >= portHidden:
		return append(key, hidden...)
	case port == 0 && d.isRemote:
		return append(key, nothing...)
	default:
		return strconv.AppendUint(key, uint64(port), 10)
	}
}

// assign gives the socket a value from a name.
func (d *dimension) assign(s *socket, value string) {
	if d.text != nil {
		*d.text(s) = value
		return
	}
	*d.port(s) = portHidden
	if port, err := strconv.ParseUint(value, 10, 16); err == nil {
		*d.port(s) = uint32(port)
	} else if value == nothing {
		*d.port(s) = 0
	}
}

func (d *dimension) isHidden(s *socket) bool {
	return d.text != nil && *d.text(s) == hidden || d.port != nil && *d.port(s) >= portHidden
}

// isTold tells whether a value is one, and not what stands for none.
func isTold(value string) bool { return value != hidden && value != nothing }

func findDimension(name string) *dimension {
	for _, d := range dimensions {
		if strings.EqualFold(d.name, name) {
			return d
		}
	}
	return nil
}

// errUnknownDimension says what would be a dimension.
func errUnknownDimension(typed string) error {
	all := grouping(dimensions)
	if near := findDimension(cmp.Or(strings.TrimPrefix(otherNames[typed], "conn-"), nearest(typed, strings.Split(all.names(","), ",")))); near != nil {
		return fmt.Errorf("unknown dimension %s: did you mean %s?", quote(typed), near.name)
	}
	return fmt.Errorf("unknown dimension %s: use %s", quote(typed), all.names(", "))
}

// grouping is the list of dimensions that the name of a group is made of.
type grouping []*dimension

func (g grouping) has(d *dimension) bool { return slices.Contains(g, d) }

// isPlain tells whether only the type and the status make a group: then there
// are few groups, known beforehand.
func (g grouping) isPlain() bool {
	return !slices.ContainsFunc(g, func(d *dimension) bool { return d != byType && d != byStatus })
}

// freeNames returns how many parts of the names others choose.
func (g grouping) freeNames() (names int) {
	for _, d := range g {
		if d.isFree {
			names++
		}
	}
	return names
}

func (g grouping) fields() (all fields) {
	for _, d := range g {
		all |= d.needs
	}
	return all
}

func (g grouping) names(separator string) string {
	var names []string
	for _, d := range g {
		names = append(names, d.name)
	}
	return strings.Join(names, separator)
}

// keySeparator stands between the values of a key. No value has it.
const keySeparator = "\x00"

// key appends the values that the socket has.
func (g grouping) key(to []byte, s *socket) []byte {
	for i, d := range g {
		if i > 0 {
			to = append(to, keySeparator...)
		}
		to = d.append(to, s)
	}
	return to
}

// values returns the values in a key.
func (g grouping) values(key string) []string { return strings.Split(key, keySeparator) }

// value returns the value that the key has in the dimension, "" for one that is
// not of the grouping.
func (g grouping) value(key string, d *dimension) string {
	index := slices.Index(g, d)
	if index < 0 {
		return ""
	}
	for range index {
		_, key, _ = strings.Cut(key, keySeparator)
	}
	value, _, _ := strings.Cut(key, keySeparator)
	return value
}

// otherTypes are other spellings of types.
var otherTypes = map[string]string{"tcp4": "tcp", "udp4": "udp"}

func knownType(spelling string) (name string, known bool) {
	name = strings.ToLower(spelling)
	name = cmp.Or(otherTypes[name], name)
	return name, slices.Contains(socketTypes, name)
}

func parseFreeName(text string) (value string, ok bool) { return cleanName(text), text != "" }

// with returns the key with its value in the dimension changed, if it has one.
func (g grouping) with(key string, d *dimension, change func(value string) string) string {
	index := slices.Index(g, d)
	if index < 0 {
		return key
	}
	values := g.values(key)
	if index < len(values) {
		values[index] = change(values[index])
	}
	return strings.Join(values, keySeparator)
}

// firstUserName returns the first name of the user with that id or name, or what
// was typed where there is none.
func firstUserName(typed string) string {
	if id, isID := parseUserID(typed); isID {
		if name, isNamed := userName(id); isNamed {
			return cleanName(name)
		}
	}
	if name, isAccount := accountName(typed); isAccount {
		return cleanName(name)
	}
	return typed
}

// parseUserID returns the id of a user that was typed as an id or a name.
func parseUserID(text string) (id uint32, ok bool) {
	if number, err := strconv.ParseUint(text, 10, 32); err == nil {
		return uint32(number), true
	}
	return userID(text)
}

func parsePort(text string) (value string, ok bool) {
	ports, ok := parsePortRange(text)
	return strconv.Itoa(int(ports.first)), ok && ports.first == ports.last
}

func parseAddress(text string) (value string, ok bool) {
	if text == "*" { // lsof has it for any
		return text, true
	}
	address, err := netip.ParseAddr(strings.ReplaceAll(strings.Trim(text, "[]"), "-", ":"))
	return usualAddress(address), err == nil && address.Zone() == ""
}

func parseDirection(text string) (value string, ok bool) {
	value = strings.ToLower(text)
	return value, slices.Contains([]string{directionIn, directionOut, directionListen}, value)
}

// usualAddress returns the text of an address, an IPv4-mapped one as IPv4.
func usualAddress(address netip.Addr) string { return address.Unmap().WithZone("").String() }
