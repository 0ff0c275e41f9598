package main

import (
	"os"
	"strings"
	"testing"
)

func TestWhatIsNotSeenIsSaidInWords(t *testing.T) {
	rights := "an administrator sees them"
	switch {
	case os.Geteuid() == 0:
		rights = "not even root may see them here"
	case thisSystem == "linux":
		rights = "root sees them, and so does a binary with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
	}
	users := "the users of 3 sockets are not known"
	if thisSystem == "linux" {
		users += " in this user namespace"
	}
	for _, test := range []struct {
		dimension   *dimension
		isRecording bool
		want        string
	}{
		{byProcess, false, "3 sockets belong to processes that this user may not see (?): " + rights},
		{byProcess, true, "the recording does not name the processes of 3 sockets (?)"},
		{byUser, false, users},
		{byUser, true, "the users of 3 sockets are not known from this source"},
		{byLocalPort, true, "the recording does not carry the ports and addresses of 3 sockets"},
		{byRemoteAddress, true, "the recording does not carry the ports and addresses of 3 sockets"},
	} {
		if got := (blindSpot{dimension: test.dimension, isRecording: test.isRecording, sockets: 3}).text(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestOnlyWhatMattersCanBeBlind(t *testing.T) {
	for _, test := range []struct{ arguments, want string }{
		{"", ""},
		{"--by local-port", ""},
		{"--by process,user,local-port", "process user"},
		{"--local-port 80 --process java", "process filter"},
		{"--user 0 --by user", "user filter"},
		{"--by local-port --test testdata/empty.json", ""},
		{"--local-port 80 --remote-address ::/0 --user 0 --test testdata/empty.json", "user filter local-port filter remote-address filter"},
	} {
		var got []string
		for _, spot := range configOf(t, strings.Fields(test.arguments)...).blindSpots() {
			if got = append(got, spot.name); spot.isFilter {
				got = append(got, "filter")
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q", test.arguments, got)
		}
	}
}

// Whoever asks by process on a live system is told of those that are hidden,
// also where the verdict does not depend on them.
func TestHiddenProcessesAreToldWithEveryVerdict(t *testing.T) {
	const note = "\n2 sockets belong to processes that this user may not see (?): "
	from := made(socketsOf("3 tcp LISTEN web", "2 tcp LISTEN ?"))
	for arguments, mustTell := range map[string]bool{
		"--by process": true, "--process web -w 100": true, "--by process -w 2 --no-details": true,
		"": false, "-w 100": false, "--by user": false, "--process ?": true,
	} {
		output, code := replyTo(t, from, strings.Fields(arguments)...)
		if code == 3 || strings.Contains(output, note) != mustTell {
			t.Errorf("%s: got %d %s", arguments, code, output)
		}
	}
}
