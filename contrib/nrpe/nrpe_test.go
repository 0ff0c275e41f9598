//go:build linux

// Package nrpe_test asks a real NRPE for the commands in this folder.
package nrpe_test

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

//go:embed check_network_connections.cfg
var commandsFile string

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

func TestCommandsNameOnlyFlagsThatExist(t *testing.T) {
	var flags []string
	for _, flag := range e2e.Flags(t) {
		flags = append(flags, flag.Name)
	}
	for _, used := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(commandsFile, -1) {
		if !slices.Contains(flags, used[1]) {
			t.Errorf("the program has no flag --%s", used[1])
		}
	}
}

func TestCommandHasTheRecommendedThresholds(t *testing.T) {
	warning, critical := e2e.Recommended(t)
	command := "command[check_network_connections]=" + e2e.PluginFolder + "/check_network_connections --warning=" +
		strings.Join(warning, ",") + " --critical=" + strings.Join(critical, ",") + "\n"
	if !strings.Contains(commandsFile, command) {
		t.Errorf("the commands lack %s", command)
	}
}

func TestEveryCommandAnswers(t *testing.T) {
	port := e2e.NRPE(t, "")
	commands := regexp.MustCompile(`(?m)^command\[(.+)\]=`).FindAllStringSubmatch(commandsFile, -1)
	if len(commands) == 0 {
		t.Fatal("found no commands")
	}
	for _, command := range commands {
		t.Run(command[1], func(t *testing.T) {
			output, code := ask(t, port, command[1])
			if code > 2 || !regexp.MustCompile(`^\[(OK|WARNING|CRITICAL)\] - `).MatchString(output) {
				t.Errorf("exit code %d, output %q", code, output)
			}
		})
	}
}

func TestAnswerHasTheSocketsOfThisMachine(t *testing.T) {
	sockets := e2e.Connections(t)
	port := e2e.NRPE(t, command("exact", "--remote-port="+strconv.Itoa(sockets), "--warning=tcp_established=2", "--critical=tcp_established=1000"))
	output, code := ask(t, port, "exact")

	first, long, _ := strings.Cut(output, "\n")
	text, perfdata, _ := strings.Cut(first, "|")
	e2e.ExpectConnections(t, map[string]string{
		"current_state":      strconv.Itoa(code),
		"plugin_output":      text,
		"performance_data":   perfdata,
		"long_plugin_output": strings.ReplaceAll(long, "\n", `\n`),
	}, sockets)
}

// The samples exclude without a !, which Nagios and NRPE take for their own.
func TestSamplesExcludeWithNot(t *testing.T) {
	sockets := e2e.Connections(t)
	flags := []string{"--conn-status=established", "--conn-type=tcp", "--remote-port=" + strconv.Itoa(sockets), "--by=status"}
	port := e2e.NRPE(t, command("all", flags...)+command("without", append(flags, "--local-port=not:1-65535")...))
	for name, want := range map[string]string{
		"all":     fmt.Sprintf("[OK] - ESTABLISHED: %d|ESTABLISHED=%[1]d;;;0", e2e.HeldConnections),
		"without": "[OK] - No connections of type \"tcp\" in status \"established\" with",
	} {
		if got, code := ask(t, port, name); code != 0 || !strings.HasPrefix(got, want) {
			t.Errorf("%s: exit code %d, output %q, want %q", name, code, got, want)
		}
	}
	if line := regexp.MustCompile(`(?m)^command.*!.*$`).FindString(commandsFile); line != "" {
		t.Errorf("this line has a !: %s", line)
	}
}

// More groups than any output can hold: the program cuts it where NRPE still
// takes all of it, which is at 65,504 bytes with packets of version 4.
func TestLongestOutputSurvives(t *testing.T) {
	e2e.Need(t, "nagios-nrpe-server nagios-nrpe-plugin", "nrpe")
	recording := filepath.Join(e2e.Folder(t), "recording.json")
	writeRecording(t, recording, 10_000)

	tests := map[string]struct {
		arguments []string
		code      int
	}{
		"in order":     {nil, 0},
		"in violation": {[]string{"--warning=0"}, 1},
		"text only":    {[]string{"--no-perfdata"}, 0},
	}
	commands, lines := "", map[string][]string{}
	for name, test := range tests {
		lines[name] = append([]string{"--test=" + recording, "--by=remote-address", "--top=0"}, test.arguments...)
		commands += command(name, lines[name]...)
	}
	port := e2e.NRPE(t, commands)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want, _ := exec.Command(e2e.Plugin(t), lines[name]...).Output()
			if len(want) < 32*1024 {
				t.Fatalf("the program printed %d bytes, which is not long: %.100q", len(want), want)
			}
			got, code := ask(t, port, name)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if got != strings.TrimSuffix(string(want), "\n") {
				t.Errorf("of %d bytes %d arrived, or others", len(want)-1, len(got))
			}

			// The oldest packets cut it, and that is all they do.
			got, code = ask(t, port, name, "-2")
			if code != test.code || len(got) < 1000 || !strings.HasPrefix(string(want), got) {
				t.Errorf("with packets of version 2: exit code %d, %d bytes: %q", code, len(got), got)
			}
		})
	}
}

// secret is in files that whoever may ask NRPE must not get to see.
const secret = "hunter2"

// With dont_blame_nrpe=1 whoever may ask NRPE chooses the arguments: that must
// be good for nothing but a check.
func TestArgumentsFromOutsideDoNoHarm(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "nagios-nrpe-server nagios-nrpe-plugin coreutils", "nrpe", "mkfifo")
	folder := e2e.Folder(t)
	marker := filepath.Join(folder, "marker")
	pipe := filepath.Join(folder, "pipe")
	e2e.Run(t, "mkfifo", "-m", "666", pipe)
	good := filepath.Join(folder, "good.json")
	writeRecording(t, good, 3)
	arguments := []string{
		"--test=" + folder, "--test=" + pipe, "--test=" + good + "," + pipe, "--test=" + pipe + "," + good, "--timeout=2147483647 --test=" + pipe,
		"--test=/etc/shadow", "--test=/dev/zero", "--test=/dev/stdin", "--test=/dev/tty", "--test=/proc/kmsg", "--test=/proc/kcore", "--test=/proc/self/mem", "--test=/proc/self/environ", "--test=/proc/self/fd/0",
		"--netns=" + pipe, "--netns=/dev/zero", "--netns=/proc/1/ns/net", "--netns=all", "--timeout=2147483647 --netns=" + pipe,
		"touch " + marker, "-- touch " + marker, "--test=" + marker, "--netns=" + marker,
		"--debug --verbose", "--debug --source=gopsutil", "--timeout=2147483647", "--by=process,user,local-address --top=0", "--help", "--version",
	}
	for i, content := range []string{
		secret, "root:" + secret + ":0:0", "password=" + secret, `{"password": "` + secret + `"}`, `["` + secret + `"]`, `[{"password": "` + secret + `"}]`,
		`[{"proto": "` + secret + `"}]`, `[{"family": "` + secret + `", "type": 1}]`, `[{"proto": "tcp", "status": {"` + secret + `": 1}}]`, `[{"proto": "tcp"}, ` + secret,
	} {
		path := filepath.Join(folder, fmt.Sprintf("secret-%d", i))
		if err := os.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, "--test="+path, "--test="+path+","+path+",0", "--test="+good+","+path, "--verbose --debug --test="+path)
		if i > 0 {
			continue // flags that read no file do not care what is in it
		}
		arguments = append(arguments, path, "@"+path, "--config="+path)
		for _, flag := range e2e.Flags(t) {
			arguments = append(arguments, "--"+flag.Name+"="+path, "--"+flag.Name+"=@"+path)
		}
		arguments = append(arguments, "--test=../../../../../../.."+path, "--netns=../../../../../../.."+path)
	}
	files := entries(t, folder)
	asked := askWithArguments(t, arguments)
	for i, argument := range arguments {
		started := time.Now()
		output, code := asked(i)
		if took := time.Since(started); took > 15*time.Second || strings.Contains(output, "timed out") {
			t.Errorf("%s: took %s", argument, took)
		}
		if strings.Contains(output, secret) || output == "" || code < 0 || code > 3 || strings.Contains(output, "goroutine ") {
			t.Errorf("%s: exit code %d, output %q", argument, code, output)
		}
	}
	if got := entries(t, folder); !slices.Equal(got, files) {
		t.Errorf("the files were %v, now they are %v", files, got)
	}
}

func entries(t *testing.T, folder string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

// askWithArguments returns a function that asks NRPE for the program with one
// of the arguments. Debian builds NRPE without support for arguments: then each
// is a command of its own, made of it as NRPE would make it of $ARG1$.
func askWithArguments(t *testing.T, arguments []string) func(int) (string, int) {
	t.Helper()
	program := e2e.PluginFolder + "/check_network_connections"
	more := "dont_blame_nrpe=1\ncommand[arguments]=" + program + " $ARG1$\n"
	for i, argument := range arguments {
		if strings.ContainsAny(argument, "|`&><'\\[]{};\r\n!") {
			t.Fatalf("NRPE lets no such argument through: %q", argument)
		}
		more += fmt.Sprintf("command[arguments_%d]=%s %s\n", i, program, argument)
	}
	port := e2e.NRPE(t, more)
	if output, _ := ask(t, port, "arguments", "-a", "--version"); strings.HasPrefix(output, "check_network_connections version ") {
		return func(i int) (string, int) { return ask(t, port, "arguments", "-a", arguments[i]) }
	}
	return func(i int) (string, int) { return ask(t, port, fmt.Sprintf("arguments_%d", i)) }
}

// command returns a command for nrpe.cfg.
func command(name string, arguments ...string) string {
	return fmt.Sprintf("command[%s]=%s/check_network_connections '%s'\n", name, e2e.PluginFolder, strings.Join(arguments, "' '"))
}

// ask returns what check_nrpe prints, without the last line break, and its
// exit code.
func ask(t *testing.T, port int, command string, options ...string) (string, int) {
	t.Helper()
	nrpe := exec.Command(e2e.PluginFolder+"/check_nrpe", append([]string{"-H", "127.0.0.1", "-p", strconv.Itoa(port), "-t", "40", "-c", command}, options...)...)
	output, err := nrpe.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(output), "\n"), nrpe.ProcessState.ExitCode()
}

// writeRecording writes a recording of as many connections, each to an address
// of its own.
func writeRecording(t *testing.T, path string, connections int) {
	t.Helper()
	type address struct {
		IP   string `json:"ip"`
		Port int    `json:"port"`
	}
	type connection struct {
		Family int     `json:"family"`
		Type   int     `json:"type"`
		Local  address `json:"localaddr"`
		Remote address `json:"remoteaddr"`
		Status string  `json:"status"`
	}
	const inet, stream = 2, 1
	var recording []connection
	for i := range connections {
		recording = append(recording, connection{inet, stream,
			address{"10.0.0.1", 443}, address{fmt.Sprintf("10.1.%d.%d", i/256, i%256), 50000}, "ESTABLISHED"})
	}
	content, err := json.Marshal(recording)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
