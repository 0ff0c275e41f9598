package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// newHost starts a process in a network namespace of its own that believes to be
// on a host of that name, as a pod or a container does.
func newHost(t *testing.T, hostName, process string, connections int) *os.Process {
	t.Helper()
	command := helper("space", process, "127.0.0.1:5432", strconv.Itoa(connections), hostName)
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS}
	started, _ := startHelper(t, command)
	return started
}

func TestNamespacesAreNamedAfterTheirHosts(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	const hostile = "a|b=1;2"
	pods := []*os.Process{newHost(t, "pod-7f9c", "redis", 1), newHost(t, "pod-7f9c", "redis", 2), newHost(t, hostile, "web", 3)}
	all := spaces{processes: pods, names: map[string]*os.Process{"blue": pods[0]}}
	for _, test := range []struct{ arguments, want string }{
		{"--netns all --by netns,status", "a_b_1_2 ESTABLISHED: 6, pod-7f9c ESTABLISHED: 6"},
		{"--netns pod-7f9c", "tcp ESTABLISHED: 6"}, // both, as they are one group
		{"--netns pod-7f9c --by netns,status -w pod-7f9c_established=5", "pod-7f9c ESTABLISHED: 6 [WARNING]"},
		{"--netns a_b_1_2", "tcp ESTABLISHED: 6"}, // as it is shown
		{"--netns blue --by netns,status", "pod-7f9c ESTABLISHED: 2"},
		{"--netns " + strconv.Itoa(pods[1].Pid) + " --by netns,status", "pod-7f9c ESTABLISHED: 4"},
		{"--netns pod-7f9c --conn-type udp -w ephemeral=30", "ephemeral ports: 20% of 10 to 127.0.0.1:5432 in pod-7f9c"},
		{"--netns all --conn-type udp -w ephemeral=30", "ephemeral ports: 30% of 10 to 127.0.0.1:5432 in a_b_1_2"},
		{"--netns redis", `--netns: "redis": there is no network namespace of this name, process id or path`},
	} {
		output, _ := outputOf(t, all.command(t, plugin, append(strings.Fields(test.arguments), "--conn-status", "established,none", "--no-perfdata", "--no-details")...))
		if text := textOf(output); text != test.want {
			t.Errorf("%s: got  %s\nwant %s", test.arguments, output, test.want)
		}
	}
	// A second one of the same name does not change what is judged.
	for number, want := range map[int]string{1: "pod-7f9c ESTABLISHED: 2 [WARNING]", 2: "pod-7f9c ESTABLISHED: 6 [WARNING]"} {
		some := spaces{processes: pods[:number]}
		output, code := outputOf(t, some.command(t, plugin, strings.Fields("--netns all --by netns,status --conn-status established --no-perfdata --no-details -w pod-7f9c_established=1")...))
		if text := textOf(output); text != want || code != 1 {
			t.Errorf("%d: got %d %s\nwant %s", number, code, output, want)
		}
	}
	t.Run("on our own host", func(t *testing.T) {
		unnamed := spaces{processes: []*os.Process{newSpace(t, "redis", 4)}}
		output, _ := outputOf(t, unnamed.command(t, plugin, "--netns", "redis", "--by", "netns,status", "--no-perfdata"))
		if want := "[OK] - redis ESTABLISHED: 8, redis LISTEN: 1\n"; output != want {
			t.Errorf("got %s\nwant %s", output, want)
		}
	})
	t.Run("on our own host beside others", func(t *testing.T) {
		mixed := spaces{processes: append([]*os.Process{newSpace(t, "redis", 4)}, pods...)}
		for range 20 { // in which order they are named is left to chance
			output, _ := outputOf(t, mixed.command(t, plugin, strings.Fields("--netns all --by netns,status --conn-status established --no-perfdata --no-details")...))
			if want := "redis ESTABLISHED: 8, a_b_1_2 ESTABLISHED: 6, pod-7f9c ESTABLISHED: 6"; textOf(output) != want {
				t.Fatalf("got  %s\nwant %s", output, want)
			}
		}
	})
}
