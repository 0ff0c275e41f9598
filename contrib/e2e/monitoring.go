package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PluginFolder is where Debian has the plugins, and where the definitions under
// contrib expect the program.
const PluginFolder = "/usr/lib/nagios/plugins"

// Folder returns a new folder that every user may enter: monitoring daemons
// give up their rights. It is removed when the test ends.
func Folder(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "check_network_connections-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Flag is a long flag of the program.
type Flag struct {
	Name       string // without the dashes
	TakesValue bool
}

// Flags returns what --help lists, except for --help and --version, which no
// monitoring system has a use for.
func Flags(t testing.TB) []Flag {
	t.Helper()
	help, _ := exec.Command(Plugin(t), "--help").Output() // exits with 3
	var flags []Flag
	for _, match := range regexp.MustCompile(`(?m)^(?:  -\w, |      )--([a-z-]+)( \S+)?`).FindAllStringSubmatch(string(help), -1) {
		if match[1] != "help" && match[1] != "version" {
			flags = append(flags, Flag{Name: match[1], TakesValue: match[2] != ""})
		}
	}
	if len(flags) == 0 {
		t.Fatalf("found no flags in the help text:\n%s", help)
	}
	return flags
}

// Recommended returns the thresholds that --help recommends, which every definition
// has: those for WARNING and for CRITICAL.
func Recommended(t testing.TB) (warning, critical []string) {
	t.Helper()
	help, _ := exec.Command(Plugin(t), "--help").Output() // exits with 3
	match := regexp.MustCompile(`(?m)^  check_network_connections -w (\S*limits=\S*) -c (\S+)$`).FindStringSubmatch(string(help))
	if match == nil {
		t.Fatalf("found no recommended thresholds in the help text:\n%s", help)
	}
	return strings.Split(match[1], ","), strings.Split(match[2], ",")
}

var (
	statusBlocks = regexp.MustCompile(`(?s)servicestatus \{\n(.*?)\n\t\}`)
	statusFields = regexp.MustCompile(`(?m)^\t([a-z_]+)=(.*)$`)
)

// Services reads a status file as Nagios and Icinga 2 write it. It returns the
// fields of each service that has been checked, by host!service; none while
// there is no such file. Line breaks in values are written as \n there.
func Services(path string) map[string]map[string]string {
	content, _ := os.ReadFile(path)
	services := map[string]map[string]string{}
	for _, block := range statusBlocks.FindAllSubmatch(content, -1) {
		fields := map[string]string{}
		for _, field := range statusFields.FindAllSubmatch(block[1], -1) {
			fields[string(field[1])] = string(field[2])
		}
		if fields["has_been_checked"] == "1" {
			services[fields["host_name"]+"!"+fields["service_description"]] = fields
		}
	}
	return services
}

// HeldConnections is how many connections Connections opens.
const HeldConnections = 3

// Connections opens that many TCP connections to a port of 127.0.0.1, and
// returns the port. They are closed when the test ends.
func Connections(t testing.TB) int {
	t.Helper()
	return Connect(t, "127.0.0.1:0", HeldConnections)
}

// Connect listens on a TCP address and opens connections to it. It returns the
// port. All are closed when the test ends.
func Connect(t testing.TB, address string, connections int) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for range connections {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
	}
	return listener.Addr().(*net.TCPAddr).Port
}

// ExpectConnections fails the test unless a service, as Services returns it,
// has the result of
//
//	check_network_connections --remote-port=PORT --warning=tcp_established=2 --critical=tcp_established=1000
//
// with the connections that Connections opened to that port: a state, counts
// and performance data that are known to the digit, and the long output that
// says who is behind them.
func ExpectConnections(t testing.TB, service map[string]string, port int) {
	t.Helper()
	for field, want := range map[string]string{
		"current_state":    "1",
		"plugin_output":    fmt.Sprintf("[WARNING] - tcp ESTABLISHED: %d [WARNING]", HeldConnections),
		"performance_data": fmt.Sprintf("tcp_ESTABLISHED=%d;2;1000;0", HeldConnections),
	} {
		if service[field] != want {
			t.Errorf("%s is %q, want %q", field, service[field], want)
		}
	}
	long := strings.Split(service["long_plugin_output"], `\n`)
	if want := fmt.Sprintf("tcp ESTABLISHED peers: to 127.0.0.1:%d %d", port, HeldConnections); !slices.Contains(long, want) {
		t.Errorf("the long output %q lacks the line %q", long, want)
	}
	if !slices.ContainsFunc(long, func(line string) bool { return strings.HasPrefix(line, "tcp ESTABLISHED held by: ") }) {
		t.Errorf("the long output %q does not say who holds the connections", long)
	}
}

// NRPE runs an NRPE with the commands of contrib/nrpe and more until the test
// ends, and returns its port on 127.0.0.1. It calls the program that Plugin
// builds.
func NRPE(t testing.TB, more string) int {
	t.Helper()
	NeedRoot(t) // so that NRPE can become another user
	Need(t, "nagios-nrpe-server nagios-nrpe-plugin", "nrpe", PluginFolder+"/check_nrpe")
	commands, err := os.ReadFile(filepath.Join(Root(), "contrib/nrpe/check_network_connections.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	port, folder := FreePort(t), Folder(t)
	settings := fmt.Sprintf(`server_address=127.0.0.1
server_port=%d
pid_file=%s/nrpe.pid
nrpe_user=nagios
nrpe_group=nagios
allowed_hosts=127.0.0.1
disable_syslog=1
`, port, folder)
	settings += strings.ReplaceAll(string(commands)+more, PluginFolder, filepath.Dir(Plugin(t)))
	config := filepath.Join(folder, "nrpe.cfg")
	if err := os.WriteFile(config, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	Start(t, exec.Command("nrpe", "-c", config, "-f"))
	WaitFor(t, 10*time.Second, "NRPE", func() bool {
		return exec.Command(PluginFolder+"/check_nrpe", "-H", "127.0.0.1", "-p", strconv.Itoa(port)).Run() == nil
	})
	return port
}
