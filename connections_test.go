package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v3/net"
)

func TestRecordedConnectionsAreCountedByTypeAndStatus(t *testing.T) {
	tests := []struct {
		recording string
		counts    string
	}{
		{
			"linux-many-statuses", "tcp CLOSE_WAIT 2, tcp CLOSING 1, tcp ESTABLISHED 4, tcp FIN_WAIT1 3, tcp FIN_WAIT2 4, tcp LAST_ACK 2, tcp LISTEN 3, tcp SYN_RECV 1, tcp SYN_SENT 2, tcp TIME_WAIT 1, " +
				"tcp6 CLOSE_WAIT 4, tcp6 CLOSING 2, tcp6 ESTABLISHED 8, tcp6 FIN_WAIT1 6, tcp6 FIN_WAIT2 8, tcp6 LAST_ACK 4, tcp6 LISTEN 6, tcp6 SYN_RECV 2, tcp6 SYN_SENT 4, tcp6 TIME_WAIT 2, udp NONE 3, udp6 NONE 6",
		},
		{"linux-idle-host", "tcp ESTABLISHED 2, tcp LISTEN 3, tcp6 LISTEN 3, udp NONE 2, udp6 NONE 1"},
		{
			"windows-wine", "tcp CLOSE_WAIT 2, tcp CLOSING 1, tcp ESTABLISHED 4, tcp FIN_WAIT1 3, tcp FIN_WAIT2 4, tcp LAST_ACK 2, tcp LISTEN 10, tcp SYN_RECV 1, tcp SYN_SENT 2, tcp TIME_WAIT 1, " +
				"tcp6 CLOSE_WAIT 4, tcp6 CLOSING 2, tcp6 ESTABLISHED 8, tcp6 FIN_WAIT1 6, tcp6 FIN_WAIT2 8, tcp6 LAST_ACK 4, tcp6 LISTEN 20, tcp6 SYN_RECV 2, tcp6 SYN_SENT 4, tcp6 TIME_WAIT 2, udp NONE 4, udp6 NONE 8",
		},
		{
			"macos-lsof", "tcp CLOSE 1, tcp ESTABLISHED 4, tcp FIN_WAIT2 1, tcp LISTEN 4, tcp SYN_SENT 1, " +
				"tcp6 CLOSE_WAIT 2, tcp6 ESTABLISHED 2, tcp6 LISTEN 5, udp NONE 3, udp6 NONE 2",
		},
		{"small-server", "tcp CLOSE_WAIT 4, tcp ESTABLISHED 19, tcp LISTEN 9, tcp TIME_WAIT 1, tcp6 CLOSE_WAIT 1, tcp6 LISTEN 4, udp NONE 16, udp6 NONE 5"},
		{"other-families", "tcp6 LISTEN 3, udp6 NONE 2"},
		{"empty", ""},
	}
	for _, test := range tests {
		t.Run(test.recording, func(t *testing.T) {
			recording := Recording{Path: "testdata/" + test.recording + ".json"}
			reading, err := countParts(part{sources: []source{{"recording", recording.records()}}})
			if err != nil {
				t.Fatal(err)
			}
			var counts []string
			for _, group := range reading.Groups {
				counts = append(counts, fmt.Sprint(group.Type, " ", group.Status, " ", group.Count))
			}
			slices.Sort(counts)
			if got := strings.Join(counts, ", "); got != test.counts {
				t.Errorf("got  %s\nwant %s", got, test.counts)
			}
		})
	}
}

// countParts counts all sockets of the parts by type and status.
func countParts(parts ...part) (Reading, error) {
	return count(parts, Config{By: defaultGrouping})
}

// broken yields the records and then the error.
func broken(err error, records ...net.ConnectionStat) iter.Seq2[net.ConnectionStat, error] {
	return func(yield func(net.ConnectionStat, error) bool) {
		for _, record := range records {
			if !yield(record, nil) {
				return
			}
		}
		yield(net.ConnectionStat{}, err)
	}
}

func TestHalfAReadingIsNotCounted(t *testing.T) {
	listener := net.ConnectionStat{Family: afInet, Type: sockStream, Status: "LISTEN"}
	whole := func(yield func(net.ConnectionStat, error) bool) { yield(listener, nil) }
	first, second := errors.New("broke off"), errors.New("no such thing")
	late := fmt.Errorf("reading: %w", context.DeadlineExceeded)
	tests := []struct {
		name    string
		sources []source
		sockets int
		used    string
		message string
	}{
		{"the first source serves", []source{{"a", whole}, {"b", broken(first)}}, 1, "a", ""},
		{"the second serves", []source{{"a", broken(first, listener, listener)}, {"b", whole}}, 1, "b", ""},
		{"the same source serves when asked again", []source{{"a", broken(first, listener)}, {"a", whole}}, 1, "a", ""},
		{
			"none serves", []source{{"a", broken(second, listener)}, {"a", broken(first, listener)}, {"b", broken(second, listener)}}, 0, "",
			"the tcp sockets cannot be read: a: broke off; b: no such thing",
		},
		{"no time is left", []source{{"a", broken(late, listener)}, {"b", whole}}, 0, "", late.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reading, err := countParts(part{name: "tcp", sources: test.sources})
			message := ""
			if err != nil {
				message = err.Error()
			}
			if reading.Sockets != test.sockets || strings.Join(reading.Sources, " ") != test.used || message != test.message {
				t.Errorf("got %d sockets from %v, %v", reading.Sockets, reading.Sources, err)
			}
			if err != nil && reading.Groups != nil {
				t.Errorf("got %v beside the error", reading.Groups)
			}
		})
	}
}

func TestZeroReportsTheGroupsThatTheSystemCanHave(t *testing.T) {
	tests := []struct {
		system    string
		selection Selection
		groups    int
		rare      string
	}{
		{"linux", Selection{}, 24, ""}, // 11 statuses of TCP twice, and UDP twice
		{"windows", Selection{Types: []string{"tcp"}}, 12, "tcp DELETE TCB"},
		{"solaris", Selection{Types: []string{"tcp6"}}, 13, "tcp6 BOUND tcp6 IDLE"},
		{"linux", Selection{Types: []string{"udp6", "tcp"}, Statuses: []string{"NONE", "LISTEN", "BOUND"}}, 2, ""},
		{"linux", Selection{Types: []string{"udp"}, Statuses: []string{"LISTEN"}}, 0, ""},
		{"darwin", Selection{Types: []string{"tcp"}}, 9, ""}, // lsof lists neither TIME_WAIT nor SYN_RECV
	}
	for _, test := range tests {
		groups := test.selection.kinds(test.system)
		var rare []string
		for _, group := range groups {
			if _, found := rareStatuses[group.status]; found {
				rare = append(rare, defaultGrouping.group(group, part{}).Text)
			}
		}
		if len(groups) != test.groups || strings.Join(rare, " ") != test.rare {
			t.Errorf("%s %v: got %d groups, %v", test.system, test.selection, len(groups), rare)
		}
	}
}

func TestFaultsOfOtherSystemsSayWhatToDo(t *testing.T) {
	lsof := fmt.Errorf("run: %w", exec.ErrNotFound)
	tests := []struct {
		name        string
		err         error
		connections int
		system      string
		isRoot      bool
		message     string
	}{
		{"all is well", nil, 3, "darwin", true, ""},
		{"nothing on Windows", nil, 0, "windows", false, ""},
		{"lsof without root", nil, 3, "darwin", false, "without root lsof lists your own sockets only: run the check as root, with sudo for instance"},
		{"lsof is missing", lsof, 0, "freebsd", false, "lsof, which lists the sockets on this system, is missing: install it (FreeBSD: pkg install lsof)"},
		{"lsof finds nothing", nil, 0, "darwin", true, "lsof lists no sockets at all, which is not to be believed: run lsof -i to see why"},
		{"gopsutil has nothing", errors.New("not implemented yet"), 0, "solaris", true, "not supported on solaris"},
		{"another error", errors.New("no luck"), 0, "windows", false, "no luck"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			message := ""
			if err := gopsutilFault(test.err, test.connections, test.system, test.isRoot); err != nil {
				message = err.Error()
			}
			if message != test.message {
				t.Errorf("got  %s\nwant %s", message, test.message)
			}
		})
	}
}
