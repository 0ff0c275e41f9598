//go:build linux

// Package kernels_test boots Debian's own kernels in emulated machines, and
// runs in them the tests of all that depends on the kernel. It needs neither
// KVM nor root.
package kernels_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

// kernel is one to run the tests on.
type kernel struct {
	version   string
	processor string   // as Debian calls it
	goEnv     []string // as Go calls it
	suite     string   // the Debian release that has the kernel
	image     string   // the package that depends on the newest build of it
	emulator  []string // the machine
	packages  string   // the Debian packages that hold the emulator
	console   string   // what the kernel calls the first serial line
	boots     []boot
}

var (
	amd64 = []string{"qemu-system-x86_64", "-machine", "pc"}
	armhf = []string{"qemu-system-arm", "-machine", "virt", "-cpu", "cortex-a15"}
	s390x = []string{"qemu-system-s390x", "-machine", "s390-ccw-virtio", "-cpu", "max"}
)

// kernels are those that the tests are run on. The README names them.
var kernels = []kernel{
	{"6.1", "amd64", []string{"GOARCH=amd64"}, "bookworm", "linux-image-cloud-amd64", amd64, "qemu-system-x86", "ttyS0", every},
	{"6.12", "amd64", []string{"GOARCH=amd64"}, "trixie", "linux-image-cloud-amd64", amd64, "qemu-system-x86", "ttyS0", every},
	{"6.1", "armhf", []string{"GOARCH=arm", "GOARM=7"}, "bookworm", "linux-image-armmp", armhf, "qemu-system-arm", "ttyAMA0", first},
	{"6.1", "s390x", []string{"GOARCH=s390x"}, "bookworm", "linux-image-s390x", s390x, "qemu-system-s390x", "ttysclp0", first},
}

// modules are those that the tests need, each behind those that it needs
// itself. A kernel may have some of them built in.
var modules = []string{
	"inet_diag", "tcp_diag", "udp_diag", "veth",
	"crc32c_generic", "libcrc32c", "nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack",
}

// The tests of the root package that are run, by what they need.
var (
	withoutRights = []string{
		"TestKernelMessagesAreCounted",
		"TestLostMessageIsAnError",
		"TestNamespaceThatVanishesHasNoSockets",
		"TestOwnersAndIdleTimesInKernelMessages",
		"TestVerboseNamesTheSource",
	}
	asRoot = append([]string{
		"TestEphemeralPortsOfThePeerThatUsesMost",
		"TestEverySocketOfTheKernelIsCountedOnce",
		"TestFiltersOfTheKernelCountWhatItHas",
		"TestFinWait2IsListedByItself",
		"TestIdleConnectionsAreToldFromBusyOnes",
		"TestKernelLeavesOutWhatOurRulesLeaveOut",
		"TestLeakIsBlamedOnItsProgram",
		"TestNamespaceIsReadAsLongAsAnythingStandsForIt",
		"TestNetworkNamespaces",
		"TestProcAndNetlinkTellTheSame",
		"TestProcessWhoseFirstThreadHasEndedIsFound",
		"TestSharedPortHasTheQueueOfEachListener",
		"TestTotalsAreTheNumbersOfTheList",
	}, withoutRights...)
)

// run is one start of a test binary in a machine: "root" has the tests of the
// root package, "inside" those that compare the program with the kernel's files.
type run struct {
	stage, user, binary string   // machine/init has the stages
	tests               []string // regular expressions of names, each of which must match one that passes
	skips               string   // a regular expression of those that may be skipped
}

// boot is a start of a machine with parameters for the kernel.
type boot struct {
	parameters string
	runs       []run
}

var (
	all    = []string{"Test.*"}
	common = []run{
		{"bare", "root", "inside", all, ""},
		{"whole", "root", "root", asRoot, "/(as_ss|without_the_rights,.*|gopsutil)$"}, // busybox has less, and gopsutil's IPv6 is wrong on s390x
		{"whole", "nobody", "root", withoutRights, ""},
		{"whole", "root", "inside", all, ""},
		{"whole", "nobody", "inside", all, ""}, // in a user namespace, and those of root ask as nobody too
	}
	first = []boot{{"", common}}
	every = []boot{
		{"", append(slices.Clone(common), run{"hidepid", "root", "inside", all, ""})},
		{"ipv6.disable=1", []run{{"no-ipv6", "root", "inside", all, ""}}},
	}
)

// machines are those that may run at a time.
var machines = make(chan struct{}, 2)

func TestWhatDependsOnTheKernel(t *testing.T) {
	e2e.NeedLong(t)
	for _, k := range kernels {
		t.Run(k.version+" "+k.processor, func(t *testing.T) {
			t.Parallel()
			machines <- struct{}{}
			defer func() { <-machines }()
			e2e.Need(t, k.packages, k.emulator[0])
			files, programs := k.files(t), k.programs(t)
			for _, b := range k.boots {
				t.Run("boot "+b.parameters, func(t *testing.T) {
					output, err := k.boot(t, files["vmlinuz"], initramfs(t, files, programs, b.runs), b.parameters)
					problems := judge(k.version, b.runs, output)
					if err != nil {
						problems = append(problems, err.Error())
					}
					if len(problems) != 0 {
						t.Errorf("%s\nThe machine printed:\n%s", strings.Join(problems, "\n"), output)
					}
				})
			}
		})
	}
}

// programs builds the program and the test binaries, and returns their folder.
func (k kernel) programs(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, arguments := range [][]string{
		{"build", "-ldflags=-s -w", "-o", filepath.Join(folder, "check_network_connections"), "."},
		{"test", "-c", "-ldflags=-s -w", "-o", filepath.Join(folder, "root"), "."},
		{"test", "-c", "-ldflags=-s -w", "-o", filepath.Join(folder, "inside"), "./contrib/kernels/inside"},
	} {
		command := exec.Command("go", arguments...)
		command.Dir = e2e.Root()
		command.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS="), k.goEnv...)
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
	}
	return folder
}
