//go:build darwin || freebsd || linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/net"
)

// sourceLsof is how a reading names lsof(8). It lists the files of each process,
// so that a socket is known from whoever holds it, and not at all where nobody
// does. On Linux, where others know more, only the tests ask it.
const sourceLsof = "lsof"

// lsofArguments ask for all Internet files, without names of hosts (-n) and ports
// (-P), without warnings (-w), with whole names of programs (+c 0), and for a word
// where there are none (-V). The fields are those of lsof(8), OUTPUT FOR OTHER
// PROGRAMS: a NUL ends each of them and a line break each set of them.
var lsofArguments = []string{"-nP", "-i", "-w", "-V", "+c", "0", "-F", "pcuLftPdnT0"}

// noFiles is what lsof says, after its name, where there are no Internet files.
// Then it exits with 1, as it does where something failed.
const noFiles = ": no Internet files located\n"

// lsofFolders are those that services may not have in their PATH.
var lsofFolders = []string{"/usr/sbin", "/usr/local/sbin"}

func findLsof(folders []string) (path string, err error) {
	for _, folder := range append([]string{""}, folders...) { // "" for those in the PATH
		if path, err = exec.LookPath(filepath.Join(folder, sourceLsof)); err == nil {
			return path, nil
		}
	}
	return "", errNoLsof
}

// readLsof counts the sockets that lsof lists.
func readLsof(ctx context.Context, log debugLog, to counter) error {
	started := time.Now()
	path, err := findLsof(lsofFolders)
	if err != nil {
		return err
	}
	output, err := runLsof(ctx, path)
	var sockets []socket
	if err == nil {
		sockets, err = parseLsof(output)
	}
	log.done(len(sockets), err, started, "%s", path)
	if err == nil {
		orientAll(sockets, func(*socket) bool { return true }, to)
	}
	return err
}

// runLsof returns what lsof prints, nothing where there are no sockets. What it
// has printed before it failed or was stopped is not whole.
func runLsof(ctx context.Context, path string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, path, lsofArguments...)
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.WaitDelay = time.Second // a child that it leaves behind may hold the pipes
	err := command.Run()
	isNone := strings.HasSuffix(stdout.String(), noFiles) && bytes.Count(stdout.Bytes(), []byte("\n")) == 1
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case isNone && command.ProcessState.ExitCode() == 1 && stderr.Len() == 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("lsof failed: %w%s", err, complaint(stderr.String()))
	case stdout.Len() == 0:
		return nil, errors.New("lsof lists no sockets, and does not say that there are none: run lsof -i to see why")
	}
	return stdout.Bytes(), nil
}

// complaint returns the first line of what lsof says about a failure.
func complaint(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return ", and it does not say why"
	}
	return ": " + printable(line)
}

// lsofSet is a line of lsof's output: the fields of a process or of a file.
type lsofSet []string

// field returns what is behind the letters of a field, "" where there is none.
func (s lsofSet) field(letters string) string {
	for _, one := range s {
		if value, isIt := strings.CutPrefix(one, letters); isIt {
			return value
		}
	}
	return ""
}

// lsofTypes are the types by the fields t and P.
var lsofTypes = map[string]string{"IPv4TCP": "tcp", "IPv6TCP": "tcp6", "IPv4UDP": "udp", "IPv6UDP": "udp6"}

// lsofList is what has been read of lsof's output.
type lsofList struct {
	process holder // whose files come next
	sockets []socket
	indexes map[string]int // by type and device, which is the same for all who share a socket
	hasGone bool           // there was a socket that is none any more
}

// parseLsof returns the sockets in lsof's output, each once, with all of its
// holders.
func parseLsof(output []byte) ([]socket, error) {
	if len(output) > 0 && !bytes.HasSuffix(output, []byte("\x00\n")) {
		return nil, errors.New("what lsof lists ends in the middle")
	}
	list := lsofList{indexes: map[string]int{}}
	for line := range strings.Lines(string(output)) {
		if err := list.add(strings.Split(strings.TrimSuffix(line, "\x00\n"), "\x00")); err != nil {
			return nil, fmt.Errorf("lsof lists %s, which cannot be read: %w", quote(printable(strings.ReplaceAll(line, "\x00", " "))), err)
		}
	}
	if list.hasGone && len(list.sockets) == 0 {
		// So does lsof on FreeBSD where it fails to get the kernel's own list.
		return nil, errors.New("lsof lists no socket of which the kernel knows: run lsof -i to see why")
	}
	for i := range list.sockets {
		s := &list.sockets[i]
		slices.SortFunc(s.holders, func(one, other holder) int { return cmp.Compare(one.pid, other.pid) })
		s.owner = sharedBy(s.holders)
		s.user = s.holders[0].user
	}
	return list.sockets, nil
}

// add adds a process, or a file of the last one.
func (l *lsofList) add(set lsofSet) error {
	switch {
	case strings.HasPrefix(set[0], "p"):
		pid, err := strconv.ParseInt(set.field("p"), 10, 32)
		l.process = holder{int32(pid), givenName(unescaped(set.field("c"))), set.user()}
		return err
	case !strings.HasPrefix(set[0], "f") || l.process.name == "":
		return errors.New("it is neither a process nor a file of one")
	}
	s, err := set.socket()
	device := set.field("d")
	if err != nil || s.proto == "" || device == "" {
		l.hasGone = l.hasGone || s.proto != ""
		return err
	}
	index, isThere := l.indexes[s.proto+device]
	if !isThere {
		index = len(l.sockets)
		l.indexes[s.proto+device] = index
		l.sockets = append(l.sockets, s)
	}
	if held := &l.sockets[index]; !slices.Contains(held.holders, l.process) {
		held.holders = append(held.holders, l.process)
	}
	return nil
}

// user returns the name of a process's user, or the id where it has none.
func (s lsofSet) user() string {
	if name := s.field("L"); name != "" {
		return givenName(name)
	}
	return cmp.Or(s.field("u"), hidden)
}

// socket returns the socket that a file is, one without a type where it is none
// of TCP or UDP. It has no device and no address where it is none any more:
// FreeBSD lists what is left of a connection that was reset, "no PCB".
func (s lsofSet) socket() (socket, error) {
	one := socket{proto: lsofTypes[s.field("t")+s.field("P")], netns: hidden, idle: -1}
	local, remote, isConnected := strings.Cut(s.field("n"), "->")
	var err1, err2 error
	one.Laddr, err1 = lsofAddress(local)
	one.Raddr.IP = nothing
	if isConnected {
		one.Raddr, err2 = lsofAddress(remote)
	}
	isAddress := errors.Join(err1, err2) == nil
	switch device := s.field("d"); {
	case one.proto == "" || device == "" && !isAddress:
		return one, nil
	case !isAddress:
		return socket{}, errors.Join(err1, err2)
	case device == "":
		return socket{}, errors.New("there is no device to tell the socket from others")
	}
	one.Status = readStatus(one.proto, s.field("TST="))
	return one, nil
}

// lsofAddress reads an address with its port: * stands for any.
func lsofAddress(text string) (net.Addr, error) {
	ip, port, _ := cutLast(text, ":")
	one := net.Addr{IP: ip}
	if ip != "*" {
		address, err := netip.ParseAddr(strings.Trim(ip, "[]"))
		if err != nil {
			return net.Addr{}, fmt.Errorf("%s is no address", quote(printable(text)))
		}
		one.IP = usualAddress(withoutScope(address))
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if one.Port = uint32(number); err != nil && port != "*" {
		return net.Addr{}, fmt.Errorf("%s has no port", quote(printable(text)))
	}
	return one, nil
}

// withoutScope clears the number of the interface, which macOS and FreeBSD keep in
// the second word of a link-local address (0 in RFC 4291).
func withoutScope(address netip.Addr) netip.Addr {
	if !address.Is6() || !address.IsLinkLocalUnicast() {
		return address
	}
	words := address.As16()
	words[2], words[3] = 0, 0
	return netip.AddrFrom16(words)
}

// unescaped returns a name as it is: lsof writes what it cannot print like C.
func unescaped(text string) string {
	if name, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`); err == nil {
		return name
	}
	return text
}
