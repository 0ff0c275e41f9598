package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestWhatIsNotSeenIsSaidInWords(t *testing.T) {
	processes := hiddenNote(3)
	switch {
	case thisSystem == "windows":
	case os.Geteuid() == 0:
		processes += "not even root may see them here, unless they were closed meanwhile"
	case thisSystem == "linux":
		processes += "root sees them, and so does every user after setcap cap_sys_ptrace,cap_dac_read_search+ep " + os.Args[0]
	default:
		processes += "an administrator sees them"
	}
	users := "the users of 3 sockets are not known"
	if thisSystem == "windows" {
		users = "the users of 3 sockets are hidden from this user (?): an administrator sees them"
	} else if thisSystem == "linux" {
		users += " in this user namespace"
	}
	for _, test := range []struct {
		dimension   *dimension
		isRecording bool
		want        string
	}{
		{byProcess, false, processes},
		{byProcess, true, "the recording does not name the processes of 3 sockets (?)"},
		{byUser, false, users},
		{byUser, true, "the users of 3 sockets are not known from this source"},
		{byUnit, false, "the units of 3 sockets are outside of this container (?)"},
		{byUnit, true, "the recording does not name the units of 3 sockets (?)"},
		{byNetns, false, "the name of the network namespace of 3 sockets is hidden from this user (?): root sees it"},
		{byLocalPort, true, "the recording does not carry the ports and addresses of 3 sockets"},
		{byRemoteAddress, true, "the recording does not carry the ports and addresses of 3 sockets"},
	} {
		one := (blindSpot{dimension: test.dimension, isRecording: test.isRecording, sockets: 1}).text()
		if want := strings.ReplaceAll(test.want, "3 sockets", "1 socket"); one != want {
			t.Errorf("got  %s\nwant %s", one, want)
		}
		if got := (blindSpot{dimension: test.dimension, isRecording: test.isRecording, sockets: 3}).text(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// hiddenNote is how a line begins that tells of processes that are not seen.
func hiddenNote(sockets int) string {
	if thisSystem == "windows" {
		return fmt.Sprintf("Windows does not tell the processes of %d sockets (?)", sockets)
	}
	return fmt.Sprintf("the processes of %d sockets are hidden from this user (?): ", sockets)
}

func TestOnlyWhatMattersCanBeBlind(t *testing.T) {
	for _, test := range []struct{ arguments, want string }{
		{"", ""},
		{"--by local-port", ""},
		{"--by netns,status", "netns"},
		{"--by process,user,local-port", "process user"},
		{"--local-port 80 --process java", "process filter"},
		{"--direction in --by direction", ""},
		{"--by unit --unit web --test testdata/empty.json", "unit filter"},
		{"--user 0 --by user", "user filter"},
		{"--by local-port,status --test testdata/empty.json", "local-port"},
		{"--local-port 80 --remote-address ::/0 --user 0 --test testdata/empty.json", "user filter local-port filter remote-address filter"},
	} {
		var got []string
		config := configOf(t, strings.Fields(test.arguments)...)
		for _, spot := range config.question.blindSpots(config.levels.by, config.recording != nil) {
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
	note := "\n" + hiddenNote(2)
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
