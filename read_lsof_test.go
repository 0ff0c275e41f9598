//go:build darwin || freebsd || linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// lsofOutput returns a recorded output as lsof writes it: for reading, the file
// has a tab in place of the NUL behind each field.
func lsofOutput(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.ReplaceAll(string(content), "\t", "\x00"))
}

// lsofText describes a socket in a line.
func lsofText(s socket) string {
	pids := ""
	for _, h := range s.holders {
		pids += fmt.Sprint(" ", h.pid)
	}
	return fmt.Sprintf("%s %s %s:%d %s:%d %s (%s)%s", s.proto, s.Status, s.Laddr.IP, s.Laddr.Port, s.Raddr.IP, s.Raddr.Port, s.process, s.user, pids)
}

func TestLsofOnMacOSAndFreeBSDListsEachSocketOnce(t *testing.T) {
	for name, want := range map[string][]string{
		"lsof-macos.txt": {
			"tcp6 LISTEN *:22 -:0 launchd (root) 1",
			"tcp LISTEN *:22 -:0 launchd (root) 1",
			"udp NONE *:5353 -:0 mDNSResponder (_mdnsresponder) 312",
			"udp6 NONE *:5353 -:0 mDNSResponder (_mdnsresponder) 312",
			"udp NONE *:0 -:0 identityservicesd (anna) 501",
			"tcp ESTABLISHED 192.0.2.10:52011 198.51.100.7:443 Google Chrome Helper (Renderer) (anna) 640",
			"tcp6 ESTABLISHED fe80::aede:48ff:fe00:1122:49160 fe80::aede:48ff:fe33:4455:49161 remoted (root) 95",
			"tcp LISTEN 127.0.0.1:8080 -:0 httpd (root) 700 701 702",
			"tcp6 CLOSE_WAIT 2001:db8::5:8080 2001:db8::9:61000 httpd (_www) 701",
			"tcp CLOSE *:0 -:0 httpd (_www) 702",
			"tcp FIN_WAIT2 192.0.2.10:8080 192.0.2.77:61001 httpd (_www) 702",
		},
		"lsof-freebsd.txt": {
			"tcp6 LISTEN *:80 -:0 nginx (root) 880 881",
			"tcp LISTEN *:80 -:0 nginx (root) 880 881",
			"tcp SYN_SENT 192.0.2.20:41000 203.0.113.5:5432 nginx (www) 881",
			"tcp FIN_WAIT1 192.0.2.20:80 203.0.113.9:50000 nginx (www) 881",
			"udp NONE *:514 -:0 syslogd (root) 700",
			"tcp ESTABLISHED 192.0.2.20:22 203.0.113.9:50001 sshd+sshd-session (root) 910 911",
			"tcp ESTABLISHED 127.0.0.1:6010 127.0.0.1:50002 sshd-session (1005) 911",
		},
	} {
		sockets, err := parseLsof(lsofOutput(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, s := range sockets {
			got = append(got, lsofText(s))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

func TestLsofOutputThatIsNotWholeIsNotRead(t *testing.T) {
	whole := string(lsofOutput(t, "lsof-macos.txt"))
	lines := map[int]bool{0: true} // the ends of whole lines
	for i, letter := range whole {
		if letter == '\n' {
			lines[i+1] = true
		}
	}
	for length := range len(whole) {
		if _, err := parseLsof([]byte(whole[:length])); (err == nil) != lines[length] {
			t.Fatalf("%d of %d bytes: error %v", length, len(whole), err)
		}
	}
	for _, output := range []string{
		"f5\x00tIPv4\x00d0x1\x00PTCP\x00n*:22\x00TST=LISTEN\x00\n", // a file of nobody
		"p\x00cinit\x00\n",     // no process
		"pfour\x00cinit\x00\n", // no process
		"p4\x00ca\x00\n\x00\n", // an empty set
		"p4\x00ca\x00\nf5\x00tIPv4\x00PTCP\x00n*:22\x00TST=LISTEN\x00\n",             // no device
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00\n",                            // no addresses
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00nlocalhost:22\x00\n",           // a name
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00n127.0.0.1:ssh\x00\n",          // a name
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00n127.0.0.1:22->\x00\n",         // no peer
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00n127.0.0.1:22->1.2.3.4\x00\n",  // no port
		"lsof: no Internet files located\n",                                          // behind nothing that failed
		"p4\x00ca\x00\nf5\x00tIPv4\x00PTCP\x00nno PCB\x00\n",                         // the kernel's list is missing
		"p4\x00ca\x00\nlsof: WARNING: can't stat() fuse file system\n",               // a warning
		"p4\x00ca\x00\nf5\x00tIPv4\x00d0x1\x00PTCP\x00n127.0.0.1:22\x00TST=LISTEN\n", // an end is missing
	} {
		if sockets, err := parseLsof([]byte(output)); err == nil {
			t.Errorf("%q was read as %v", output, sockets)
		}
	}
}

func TestNamesAreReadAsLsofEscapesThem(t *testing.T) {
	for typed, want := range map[string]string{
		"nginx":           "nginx",
		`a b`:             "a b",
		`M\xc3\xbcller`:   "Müller",
		`a\\b`:            `a\b`,
		`tab\there`:       "tab\there",
		`say "hi"`:        `say "hi"`,
		`end\`:            `end\`,
		`C\x2b\x2b\x20ab`: "C++ ab",
	} {
		if got := unescaped(typed); got != want {
			t.Errorf("%s: got %q want %q", typed, got, want)
		}
	}
}

// fakeLsof writes a program called lsof and returns its folder.
func fakeLsof(t *testing.T, script string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "lsof"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// lsofLine prints a listening socket.
const lsofLine = `printf 'p4\0csshd\0u0\0Lroot\0\nf5\0tIPv4\0d0x1\0PTCP\0n*:22\0TST=LISTEN\0\n'`

func TestAnLsofThatFailedIsNoAnswer(t *testing.T) {
	for _, test := range []struct {
		name, script string
		sockets      int
		err          string // "" where it is an answer
	}{
		{"a socket", lsofLine, 1, ""},
		{"none", `echo lsof: no Internet files located; exit 1`, 0, ""},
		{"none, with a complaint", `echo lsof: no Internet files located; echo lsof: no /dev/kmem >&2; exit 1`, 0, "lsof failed: exit status 1: lsof: no /dev/kmem"},
		{"silence", `exit 1`, 0, "lsof failed: exit status 1, and it does not say why"},
		{"silent success", `exit 0`, 0, "lsof lists no sockets, and does not say that there are none: run lsof -i to see why"},
		{"a complaint", `echo 'lsof: can|t open kvm' >&2; exit 1`, 0, "lsof failed: exit status 1: lsof: can_t open kvm"},
		{"a failure with output", lsofLine + `; exit 1`, 0, "lsof failed: exit status 1, and it does not say why"},
		{"killed with output", lsofLine + `; kill -9 $$`, 0, "lsof failed: signal: killed, and it does not say why"},
		{"cut", lsofLine + `; printf 'f6\0tIPv4\0d0x2'`, 0, "what lsof lists ends in the middle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("PATH", fakeLsof(t, test.script)+":/bin:/usr/bin")
			all := &tally{asks: func(*socket) answer { return yes }, key: grouping{}.key}
			found := newCounter([]*tally{all})
			err := readLsof(t.Context(), debugLog{}, found)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if known, _ := found[0].sum(); known != test.sockets || text != test.err {
				t.Errorf("got %d sockets and %q, want %d and %q", known, text, test.sockets, test.err)
			}
		})
	}
}

func TestAnLsofThatHangsIsStoppedInTime(t *testing.T) {
	t.Setenv("PATH", fakeLsof(t, lsofLine+"; sleep 60 & sleep 60")+":/bin:/usr/bin")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	if err := readLsof(ctx, debugLog{}, nil); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if passed := time.Since(started); passed > 5*time.Second {
		t.Errorf("it took %s", passed)
	}
}

func TestLsofIsFoundWhereServicesHaveNoPath(t *testing.T) {
	folder := fakeLsof(t, "")
	t.Setenv("PATH", "/nowhere")
	if path, err := findLsof([]string{"/nowhere/else", folder}); err != nil || path != filepath.Join(folder, "lsof") {
		t.Errorf("got %s, %v", path, err)
	}
	if _, err := findLsof(nil); err != errNoLsof {
		t.Errorf("got %v", err)
	}
	if !slices.Equal(lsofFolders, []string{"/usr/sbin", "/usr/local/sbin"}) {
		t.Errorf("it is looked for in %v", lsofFolders)
	}
}

func TestStatusesOfSocketsThatNobodyHoldsAreRefusedWithLsof(t *testing.T) {
	refused := func(system string) (all []string) {
		for _, status := range statuses {
			if checkStatus(system, status) != nil {
				all = append(all, status)
			}
		}
		return all
	}
	want := []string{"BOUND", "CLOSING", "DELETE_TCB", "IDLE", "LAST_ACK", "SYN_RECV", "TIME_WAIT"}
	for _, system := range []string{"darwin", "freebsd"} {
		if got := refused(system); !slices.Equal(got, want) {
			t.Errorf("%s: got %v want %v", system, got, want)
		}
	}
	if got := refused("windows"); !slices.Equal(got, []string{"BOUND", "IDLE"}) {
		t.Errorf("windows: got %v", got)
	}
}
