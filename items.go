package main

import (
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func portItem(port func(*socket) *uint32) func(string) (func(*socket) bool, error) {
	return func(text string) (func(*socket) bool, error) {
		ports, ok := parsePortRange(text)
		if !ok || ports.first == 0 {
			return nil, fmt.Errorf("%s is not a port: use 1 to 65535, or a range such as 8000-8100", quote(text))
		}
		return func(s *socket) bool { return ports.has(*port(s)) }, nil
	}
}

func networkItem(text func(*socket) *string) func(string) (func(*socket) bool, error) {
	return func(typed string) (func(*socket) bool, error) {
		network, err := parseNetwork(typed)
		if address, port, fault := stdnet.SplitHostPort(typed); err != nil && fault == nil && port != "" {
			err = fmt.Errorf("%s has a port: give the address %s here, and the port to the flag for ports", quote(typed), quote(address))
		}
		if err != nil {
			return nil, err
		}
		return func(s *socket) bool {
			address, err := netip.ParseAddr(*text(s))
			if err != nil {
				address = netip.IPv4Unspecified() // lsof has * for any
			}
			return network.Contains(address)
		}, nil
	}
}

// maxComm is how much the kernel keeps of the name of a process on Linux
// (TASK_COMM_LEN in linux/sched.h, less the final zero).
const maxComm = 15

// shortName returns the short name by which others may call a process: without
// its ending on Windows, elsewhere the letters that the kernel keeps of it, by
// which ss -p shows it.
func shortName(system, name string) string {
	const ending = ".exe"
	switch cut := len(name) - len(ending); {
	case system != "windows":
		return name[:min(len(name), maxComm)]
	case cut > 0 && strings.EqualFold(name[cut:], ending):
		return name[:cut]
	}
	return name
}

// comparedName returns the name of a process as names are compared: on Windows a
// program is called in any case, and with or without its ending.
func comparedName(system, name string) string {
	if system != "windows" {
		return name
	}
	return strings.ToLower(shortName(system, name))
}

// processItem matches the name of any process that holds the socket: as it is,
// as it is shown, or the letters that the kernel keeps of it.
func processItem(text string) (func(*socket) bool, error) {
	isName, err := nameMatcher(comparedName(thisSystem, text))
	if _, fault := strconv.Atoi(text); fault == nil {
		err = fmt.Errorf("%s is a process id: use the name of the process", quote(text))
	}
	if base := path.Base(text); strings.HasPrefix(text, "/") {
		err = fmt.Errorf("%s is a path: use the name of the process, %s", quote(text), quote(base))
	}
	if err != nil {
		return nil, err
	}
	isOne := func(name string) bool {
		isShort := len(text) == maxComm && thisSystem != "windows" && (strings.HasPrefix(name, text) || strings.HasPrefix(cleanName(name), text))
		return isName(comparedName(thisSystem, name)) || isTold(name) && isShort
	}
	return func(s *socket) bool {
		isHolder := func(h holder) bool { return isOne(h.name) }
		isTyped := s.isNamed && (folded(cleanName(text)) == folded(s.process) || len(s.process) == maxComm && strings.HasPrefix(folded(text), folded(s.process)))
		isOneOfAll := s.isNamed && slices.ContainsFunc(strings.Split(s.process, "+"), isOne) // made from a name, it has no holders
		return isOne(s.process) || slices.ContainsFunc(s.holders, isHolder) || isTyped || isOneOfAll
	}, nil
}

// nameMatcher returns a function that tells whether a name is the one that was
// typed, as it is or as it is shown. * and ? stand for what they do in a shell.
func nameMatcher(text string) (func(name string) bool, error) {
	if text == "" {
		return nil, errors.New("give a name")
	}
	if !isTold(text) || !strings.ContainsAny(text, "*?") {
		return func(name string) bool {
			if name == text || !isTold(name) {
				return name == text
			}
			shown := cleanName(name)
			return shown == text || strings.ReplaceAll(shown, " ", "_") == text
		}, nil
	}
	pattern := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(text))
	compiled, err := regexp.Compile(`(?s)^` + pattern + `$`)
	return func(name string) bool {
		return isTold(name) && (compiled.MatchString(name) || compiled.MatchString(cleanName(name)))
	}, err
}

// userItem matches a user by id or by any of his names, in any case.
func userItem(text string) (func(*socket) bool, error) {
	isName, err := nameMatcher(strings.ToLower(text))
	id, isKnown := parseUserID(text)
	name := firstUserName(text)
	return func(s *socket) bool {
		if isKnown && len(s.Uids) > 0 {
			return uint32(s.Uids[0]) == id
		}
		return isName(strings.ToLower(s.user)) || isTold(s.user) && strings.EqualFold(cleanName(s.user), cleanName(name))
	}, err
}

func unitItem(text string) (func(*socket) bool, error) {
	isName, err := nameMatcher(text)
	return func(s *socket) bool { return isName(s.unit) || s.isNamed && folded(cleanName(text)) == folded(s.unit) }, err
}

func directionItem(text string) (func(*socket) bool, error) {
	value, ok := parseDirection(text)
	if !ok && text != nothing {
		return nil, fmt.Errorf("%s is no direction: use in, out or listen", quote(text))
	}
	return func(s *socket) bool { return s.direction == value }, nil
}
