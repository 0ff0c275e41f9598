//go:build linux

// Package architectures_test runs the program, and the tests of what it makes
// of the kernel's messages, on emulated processors: one that has the bytes of a
// number the other way round, and one with 32 bits.
package architectures_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

var processors = []struct {
	name        string
	emulator    string
	environment []string
}{
	{"s390x, big-endian", "qemu-s390x", []string{"GOARCH=s390x"}},
	{"armv7, 32 bits", "qemu-arm", []string{"GOARCH=arm", "GOARM=7"}},
}

// build runs the Go command for another processor at the top of the repository.
func build(t *testing.T, environment []string, arguments ...string) {
	t.Helper()
	command := exec.Command("go", arguments...)
	command.Dir = e2e.Root()
	command.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS="), environment...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
}

// What the emulators cannot do is start programs for their processor, and
// netlink. Tests that need neither are named here.
var tests = []string{
	"TestKernelMessagesAreCounted",
	"TestOwnersAndIdleTimesInKernelMessages",
	"TestOnlyWhatIsSelectedIsAskedFor",
	"TestCorruptMessagesAreRefused",
	"TestDumpThatFailsIsNeverCountedInPart",
	"TestNothingIsAllocatedForASocket",
	"TestEphemeralPortsTowardsTheFullestPeer",
	"FuzzSocketMessage",
	"FuzzDatagram",
	"FuzzProcRows",
	"TestRecordedConnectionsAreCountedByTypeAndStatus",
	"TestRangesAlertAsInTheCPlugins",
}

func TestKernelMessagesAreReadOnEveryProcessor(t *testing.T) {
	for _, processor := range processors {
		t.Run(processor.name, func(t *testing.T) {
			e2e.Need(t, "qemu-user", processor.emulator)
			binary := filepath.Join(t.TempDir(), "tests")
			build(t, processor.environment, "test", "-c", "-o", binary, ".")
			command := exec.Command(processor.emulator, binary, "-test.v", "-test.run=^("+strings.Join(tests, "|")+")$")
			command.Dir = e2e.Root() // for the recordings
			output, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			for _, test := range tests {
				if !strings.Contains(string(output), "--- PASS: "+test+" ") {
					t.Errorf("%s did not run:\n%s", test, output)
				}
			}
		})
	}
}

func TestRecordingsAreJudgedAlikeOnEveryProcessor(t *testing.T) {
	native := e2e.Plugin(t)
	for _, processor := range processors {
		t.Run(processor.name, func(t *testing.T) {
			e2e.Need(t, "qemu-user", processor.emulator)
			binary := filepath.Join(t.TempDir(), "check_network_connections")
			build(t, processor.environment, "build", "-o", binary, ".")
			for _, arguments := range []string{
				"--test testdata/linux-many-statuses.json -w 5 -c total=10",
				"--test testdata/leaking-server.json -w close_wait=10 -c 999999999999,tcp_established=1:1e10",
				"--test testdata/leaking-server.json --by remote-address,remote-port,user --top 0",
				"--test testdata/leaking-server.json --by local-address --local-address 10.0.0.0/8 --local-port 1024-65535",
				"--test testdata/every-spelling.json --zero",
				"--test testdata/windows-wine.json --by type -w @1:3.5",
				"--test testdata/empty.json --by process -w total=1:",
				"--help",
			} {
				var outputs [2]string
				for i, line := range [][]string{{native}, {processor.emulator, binary}} {
					command := exec.Command(line[0], append(line[1:], strings.Fields(arguments)...)...)
					command.Dir = e2e.Root()
					output, _ := command.CombinedOutput()
					outputs[i] = string(output) + command.ProcessState.String()
				}
				if outputs[0] != outputs[1] {
					t.Errorf("%s: got\n%s\nwant\n%s", arguments, outputs[1], outputs[0])
				}
			}
		})
	}
}
