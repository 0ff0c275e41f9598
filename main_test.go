package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NETWAYS/go-check"

	"check_network_connections/contrib/e2e"
)

// testAs makes the test binary behave as another program, so that the tests
// need no other build.
const testAs = "CHECK_NETWORK_CONNECTIONS_TEST_AS"

// helpers are the programs, by the value of testAs. The check itself is run
// whole: arguments, output and exit code.
var helpers = map[string]func(){"program": main}

func TestMain(m *testing.M) {
	if other, found := helpers[os.Getenv(testAs)]; found {
		other()
		return
	}
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// helper returns the command that runs one of the helpers.
func helper(name string, arguments ...string) *exec.Cmd {
	command := exec.Command(os.Args[0], arguments...)
	// The race detector would wait for a second at each exit.
	command.Env = append(os.Environ(), testAs+"="+name, "GORACE=atexit_sleep_ms=0")
	return command
}

// program returns the command that runs the check with the arguments.
func program(arguments ...string) *exec.Cmd { return helper("program", arguments...) }

// run returns what the program prints on standard output, and its exit code.
// The test fails where it prints anything on standard error.
func run(t *testing.T, arguments ...string) (output string, code int) {
	t.Helper()
	return outputOf(t, program(arguments...))
}

// outputOf is run for any command.
func outputOf(t *testing.T, command *exec.Cmd) (output string, code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Errorf("%v printed on standard error: %s", command.Args, stderr.String())
	}
	return stdout.String(), command.ProcessState.ExitCode()
}

// reply returns the output and the exit code that the program would give.
func reply(arguments ...string) (output string, code int) {
	config, err := parseArguments(arguments)
	switch {
	case err != nil:
		return errorText(err), int(check.Unknown)
	case config.help:
		return usage(), int(check.Unknown)
	case config.version:
		return programName + " version " + version() + "\n", int(check.Unknown)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state, output, err := runCheck(ctx, config)
	if err != nil {
		return errorText(err), int(check.Unknown)
	}
	return output, int(state)
}

func configOf(t testing.TB, arguments ...string) *options {
	t.Helper()
	config, err := parseArguments(arguments)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// made are sockets that a test has made, in one dump.
type made []*socket

func (m made) dumps(context.Context, []*tally) []dump {
	return []dump{{name: "tcp", sources: []source{{"the test", m.read}}}}
}

// read counts the sockets, each network namespace by itself.
func (m made) read(to counter) error {
	byNamespace := map[uint64][]socket{}
	for _, each := range m {
		byNamespace[each.netnsID] = append(byNamespace[each.netnsID], *each)
	}
	for _, id := range slices.Sorted(maps.Keys(byNamespace)) {
		orientAll(byNamespace[id], func(s *socket) bool { return s.process != nothing }, to)
	}
	return nil
}

// replyTo is reply for a host that has the sockets.
func replyTo(t testing.TB, from made, arguments ...string) (output string, code int) {
	t.Helper()
	return replyOf(t, configOf(t, arguments...), from)
}

// replyOf is replyTo for any configuration, and with limits.
func replyOf(t testing.TB, config *options, from made, limits ...limit) (output string, code int) {
	t.Helper()
	state, output, err := checkSockets(t.Context(), config, from, limits)
	if err != nil {
		return errorText(err), int(check.Unknown)
	}
	return output, int(state)
}

// textOf returns the text of the first line, without state and performance data.
func textOf(output string) string {
	line, _, _ := strings.Cut(output, "\n")
	text, _, _ := strings.Cut(line, "|")
	_, text, _ = strings.Cut(text, "] - ")
	return text
}

// valuesOf returns the labels and the values of the performance data.
func valuesOf(output string) string {
	line, _, _ := strings.Cut(output, "\n")
	_, perfdata, _ := strings.Cut(line, "|")
	var values []string
	for one := range strings.FieldsSeq(perfdata) {
		value, _, _ := strings.Cut(one, ";")
		values = append(values, value)
	}
	return strings.Join(values, " ")
}

func TestOutputAndExitCode(t *testing.T) {
	for _, test := range []struct {
		name, arguments, output string
		code                    int
	}{
		{
			"without flags", "--test testdata/small-server.json",
			"[OK] - tcp ESTABLISHED: 19, udp NONE: 16, tcp LISTEN: 9, udp6 NONE: 5, tcp CLOSE WAIT: 4, tcp6 LISTEN: 4, tcp TIME WAIT: 1, tcp6 CLOSE WAIT: 1" +
				"|tcp_ESTABLISHED=19;;;0 udp_NONE=16;;;0 tcp_LISTEN=9;;;0 udp6_NONE=5;;;0 tcp_CLOSE_WAIT=4;;;0 tcp6_LISTEN=4;;;0 tcp_TIME_WAIT=1;;;0 tcp6_CLOSE_WAIT=1;;;0",
			0,
		},
		{
			"one type and status above the range", "--test testdata/many-established.json --conn-type=tcp --conn-status=established --warning=200",
			"[WARNING] - tcp ESTABLISHED: 260 [WARNING]|tcp_ESTABLISHED=260;200;;0", 1,
		},
		{
			"all types, below the range", "--test testdata/few-established.json --conn-type=all --conn-status=established --warning=30:40",
			"[WARNING] - tcp ESTABLISHED: 26 [WARNING]|tcp_ESTABLISHED=26;30:40;;0", 1,
		},
		{
			"nothing found", "--test testdata/small-server.json --conn-type=tcp6 --conn-status=established --conn-status=closing --warning=30:40",
			`[OK] - No connections of type "tcp6" in status "established,closing" found.` + "\n0 sockets are not judged: name the group (tcp_listen=1:) or use --zero", 0,
		},
		{
			"nothing found, always ok", "--test testdata/empty.json --always-ok",
			`[OK] - No connections of type "all" in status "all" found. (always ok)`, 0,
		},
		{
			"all in one status", "--test testdata/many-established.json -w 200 -c 500",
			"[WARNING] - tcp ESTABLISHED: 260 [WARNING], udp NONE: 16, tcp CLOSE WAIT: 4" +
				"|tcp_ESTABLISHED=260;200;500;0 udp_NONE=16;200;500;0 tcp_CLOSE_WAIT=4;200;500;0",
			1,
		},
		{
			"ranges by group", "--test testdata/many-established.json -w 2000,close_wait=10,udp=10 -c close-wait=3 -c total=270",
			"[CRITICAL] - tcp ESTABLISHED: 260, udp NONE: 16 [WARNING], tcp CLOSE WAIT: 4 [CRITICAL], total: 280 [CRITICAL]" +
				"|tcp_ESTABLISHED=260;2000;;0 udp_NONE=16;10;;0 tcp_CLOSE_WAIT=4;10;3;0 total=280;;270;0",
			2,
		},
		{
			"a group named in full that has no socket", "--test testdata/many-established.json --conn-type tcp -c TCP_Listen=1:",
			"[CRITICAL] - tcp ESTABLISHED: 260, tcp CLOSE WAIT: 4, tcp LISTEN: 0 [CRITICAL]" +
				"|tcp_ESTABLISHED=260;;;0 tcp_CLOSE_WAIT=4;;;0 tcp_LISTEN=0;;1:;0",
			2,
		},
		{"the total of nothing", "--test testdata/empty.json -w total=1:", "[WARNING] - total: 0 [WARNING]|total=0;1:;;0", 1},
		{
			"groups without a socket", "--test testdata/small-server.json --zero --conn-type tcp6 --conn-status listen,established -w established=1:",
			"[WARNING] - tcp6 LISTEN: 4, tcp6 ESTABLISHED: 0 [WARNING]|tcp6_ESTABLISHED=0;1:;;0 tcp6_LISTEN=4;;;0", 1,
		},
		{
			"always ok", "--test testdata/many-established.json --conn-status established -c 200 --always-ok",
			"[OK] - tcp ESTABLISHED: 260 [CRITICAL] (always ok)|tcp_ESTABLISHED=260;;200;0", 0,
		},
		{
			"without performance data", "--test testdata/many-established.json --conn-status established -c 200 --no-perfdata",
			"[CRITICAL] - tcp ESTABLISHED: 260 [CRITICAL]", 2,
		},
		{
			"equal counts in the order of types and names", "--test testdata/equal-counts.json --no-perfdata",
			"[OK] - tcp LISTEN: 3, tcp CLOSE WAIT: 2, tcp TIME WAIT: 2, tcp6 CLOSE: 2, udp NONE: 2, udp6 NONE: 2", 0,
		},
		{
			"ranges in performance data", "--test testdata/small-server.json --conn-type udp,udp6 -w udp=0:,udp6=@0: -c udp=~:20,udp6=@-1.5:3",
			"[WARNING] - udp NONE: 16, udp6 NONE: 5 [WARNING]|udp_NONE=16;0:;~:20;0 udp6_NONE=5;@0:;@-1.5:3;0", 1,
		},
		{
			"unknown statuses under their own names", "--test testdata/every-spelling.json --no-perfdata",
			"[OK] - tcp CLOSE: 3, tcp SYN RECV: 3, udp NONE: 3, tcp DELETE TCB: 2, tcp FIN WAIT1: 2, tcp FIN WAIT2: 2, tcp NEW STATE: 2, tcp CLOSE WAIT: 1, tcp ESTABLISHED: 1", 0,
		},
		{
			"an argument that is wrong", "--conn-type tpc", `[UNKNOWN] - --conn-type: unknown type "tpc": use all, tcp, tcp6, udp, udp6`, 3,
		},
		{
			"a reading that failed", "--test testdata/empty.json,,1", "[UNKNOWN] - the recording says that its reading failed", 3,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			output, code := run(t, strings.Fields(test.arguments)...)
			if output != test.output+"\n" || code != test.code {
				t.Errorf("got  %d %swant %d %s", code, output, test.code, test.output)
			}
		})
	}
}

func TestHelpAndVersionPrintNothingElse(t *testing.T) {
	for flag, want := range map[string]string{
		"--help": usage(), "-h": usage(), "--version": programName + " version " + version() + "\n", "-V": programName + " version " + version() + "\n",
	} {
		if output, code := run(t, flag, "--conn-type", "nonsense"); output != want || code != 3 {
			t.Errorf("%s: got %d %s", flag, code, output)
		}
	}
}

// faulty is a reader that panics, or never answers.
type faulty struct{ fault any }

func (f faulty) dumps(context.Context, []*tally) []dump {
	if f.fault != nil {
		panic(f.fault)
	}
	select {}
}

func TestVerdictDoesNotWaitForDetails(t *testing.T) {
	config := configOf(t, "-w", "0")
	r := &results{groups: []group{{row: row{key: "tcp\x00LISTEN", known: 1}, verdict: verdict{check.Warning, check.Warning}}}, sockets: 1}
	for _, test := range []struct {
		name, message string
		from          reader
		limit         time.Duration
	}{
		{"no time is left", "no time was left to find the holders", made(socketsOf("tcp LISTEN")), time.Nanosecond},
		{"the reader is stuck", "no time was left to find the holders", faulty{}, 200 * time.Millisecond},
		{"the reader panics", "who holds the sockets cannot be told: fault of the test", faulty{"of the test"}, time.Hour},
		{"all is well", "tcp LISTEN held by: web (www-data) 1", made(socketsOf("tcp LISTEN web[7] www-data")), time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), test.limit)
			defer cancel()
			lines := blame(ctx, test.from, config, r)
			if want := []string{test.message}; fmt.Sprint(lines) != fmt.Sprint(want) {
				t.Errorf("got %q", lines)
			}
		})
	}
}
