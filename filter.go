package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/net"
)

// Filter says which sockets count, besides their types and statuses.
type Filter struct {
	LocalPorts, RemotePorts         choice[portRange]
	LocalAddresses, RemoteAddresses choice[netip.Prefix]
	Processes                       choice[string]
	Users                           choice[string]
}

// choice is a list to match with: something must be in include, unless that is
// empty, and must not be in exclude.
type choice[T any] struct {
	include, exclude []T
}

func (c choice[T]) isEmpty() bool { return len(c.include)+len(c.exclude) == 0 }

// matches tells whether the value is chosen. is compares it with an item.
func (c choice[T]) matches(is func(T) bool) bool {
	return (len(c.include) == 0 || slices.ContainsFunc(c.include, is)) && !slices.ContainsFunc(c.exclude, is)
}

// parseChoice reads a list of items. A leading ! excludes one.
func parseChoice[T any](lists []string, parse func(string) (T, error)) (choice[T], error) {
	var c choice[T]
	for _, item := range splitLists(lists) {
		text, excluded := strings.CutPrefix(item, "!")
		value, err := parse(text)
		switch {
		case err != nil:
			return choice[T]{}, err
		case excluded:
			c.exclude = append(c.exclude, value)
		default:
			c.include = append(c.include, value)
		}
	}
	return c, nil
}

type portRange struct{ first, last uint32 }

func parsePorts(text string) (portRange, error) {
	ports, ok := parsePortRange(text)
	if !ok || ports.first == 0 {
		return portRange{}, fmt.Errorf("%s is not a port: use 1 to 65535, or a range such as 8000-8100", quote(text))
	}
	return ports, nil
}

// parsePortRange reads a number from 0 to 65535 or a range of them.
func parsePortRange(text string) (ports portRange, ok bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	return portRange{uint32(low), uint32(high)}, err1 == nil && err2 == nil && low <= high
}

func parseNetwork(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		var address netip.Addr
		if address, err = netip.ParseAddr(text); err == nil && address.Zone() != "" {
			err = errors.New("records have no zones")
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8", quote(text))
	}
	if address := prefix.Addr(); address.Is4In6() && prefix.Bits() >= 96 {
		// Records have IPv4-mapped addresses as IPv4.
		prefix = netip.PrefixFrom(address.Unmap(), prefix.Bits()-96)
	}
	return prefix, nil
}

func parseName(text string) (string, error) {
	if text == "" {
		return "", errors.New("a name is empty")
	}
	return text, nil
}

// parseUser reads the name or the id of a user.
func parseUser(text string) (string, error) {
	if id, err := strconv.ParseUint(text, 10, 32); err == nil {
		return strconv.FormatUint(id, 10), nil // 007 is 7
	}
	return parseName(text)
}

// matches tells whether the record passes the filters on ports and addresses.
// The error is for a record, one of a recording, that does not carry them.
func (f *Filter) matches(record net.ConnectionStat) (bool, error) {
	local := !f.LocalPorts.isEmpty() || !f.LocalAddresses.isEmpty()
	remote := !f.RemotePorts.isEmpty() || !f.RemoteAddresses.isEmpty()
	if local && record.Laddr.Port >= portUnseen || remote && record.Raddr.Port >= portUnseen {
		return false, errors.New("filters on ports and addresses cannot be applied: the recording does not carry those of every socket")
	}
	return (!local || matchesPort(f.LocalPorts, record.Laddr) && matchesAddress(f.LocalAddresses, record.Laddr)) &&
		(!remote || record.Raddr.Port != 0 && matchesPort(f.RemotePorts, record.Raddr) && matchesAddress(f.RemoteAddresses, record.Raddr)), nil
}

func matchesPort(ports choice[portRange], end net.Addr) bool {
	return ports.matches(func(r portRange) bool { return r.first <= end.Port && end.Port <= r.last })
}

func matchesAddress(networks choice[netip.Prefix], end net.Addr) bool {
	if networks.isEmpty() {
		return true
	}
	address, err := netip.ParseAddr(end.IP)
	if err != nil {
		address = netip.IPv4Unspecified() // lsof has * for any
	}
	address = address.Unmap().WithZone("")
	return networks.matches(func(prefix netip.Prefix) bool { return prefix.Contains(address) })
}

// matchesProcess tells whether the sockets with this key pass the filter on
// processes.
func (f *Filter) matchesProcess(k key, part part) bool {
	if f.Processes.isEmpty() {
		return true
	}
	return f.Processes.matches(isProcess(processName(k, part)))
}

// maxComm is how much the kernel keeps of the name of a process on
// Linux (TASK_COMM_LEN in linux/sched.h, less the final zero).
const maxComm = 15

// isProcess returns a function that tells whether a name is that of the process,
// in full or as the kernel keeps it.
func isProcess(process string) func(string) bool {
	return func(name string) bool {
		return name == process || outsideName(name) == process || len(name) == maxComm && strings.HasPrefix(process, outsideName(name))
	}
}

// matchesUser tells whether the sockets with this key pass the filter on users.
func (f *Filter) matchesUser(k key, part part) bool {
	if f.Users.isEmpty() {
		return true
	}
	user := userName(k, part)
	return f.Users.matches(func(name string) bool {
		return isSameName(name, user) || k.uid >= 0 && name == strconv.FormatInt(k.uid, 10)
	})
}

// isUser tells whether a name or an id that somebody typed is that of the user
// with the name.
func isUser(typed, name string) bool {
	account, known := userOf(typed)
	return isSameName(typed, name) || known && isSameName(account, name)
}

// isSameName compares a name as it was typed with one as it is shown, in any
// case.
func isSameName(typed, shown string) bool {
	return strings.EqualFold(typed, shown) || strings.EqualFold(outsideName(typed), shown)
}

// checkUsers returns an error where a user of the filter is not known here.
func (f *Filter) checkUsers(recording *Recording) error {
	for _, name := range slices.Concat(f.Users.include, f.Users.exclude) {
		if _, err := strconv.ParseUint(name, 10, 32); err == nil || !isTold(name) {
			continue
		}
		if recording != nil {
			return fmt.Errorf("--user: a recording has the ids of users, not the name %s: use an id", quote(name))
		}
		if _, err := user.Lookup(name); err != nil {
			return fmt.Errorf("--user: unknown user %s: use a name or an id that this host knows", quote(name))
		}
	}
	return nil
}

// userOf returns the name of the user with the id, false where there is none.
func userOf(id string) (name string, known bool) {
	if _, err := strconv.ParseUint(id, 10, 32); err != nil {
		return "", false
	}
	account, err := user.LookupId(id)
	if err != nil {
		return "", false
	}
	return account.Username, account.Username != ""
}

// allows tells whether sockets with the value in the dimension can pass the
// filters.
func (f *Filter) allows(d Dimension, value string) bool {
	port, _ := strconv.ParseUint(value, 10, 16)
	end := net.Addr{IP: value, Port: uint32(port)}
	switch {
	case value == unseen:
		return true
	case value == nothing && (d == byRemoteAddress || d == byRemotePort):
		return f.RemoteAddresses.isEmpty() && f.RemotePorts.isEmpty()
	case d == byLocalPort:
		return matchesPort(f.LocalPorts, end)
	case d == byRemotePort:
		return matchesPort(f.RemotePorts, end)
	case d == byLocalAddress:
		return matchesAddress(f.LocalAddresses, end)
	case d == byRemoteAddress:
		return matchesAddress(f.RemoteAddresses, end)
	case d == byProcess:
		// Thresholds name processes in any case.
		return f.Processes.matches(isProcess(value)) || f.Processes.matches(func(name string) bool { return isSameName(name, value) })
	case d == byUser && value != nothing:
		return f.Users.matches(func(name string) bool { return isUser(name, value) })
	}
	return true
}
