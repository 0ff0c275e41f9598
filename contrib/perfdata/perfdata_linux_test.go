// Package perfdata_test lets the readers of performance data that registries have
// read back what the program prints, by their own parsers.
package perfdata_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"check_network_connections/contrib/e2e"
)

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.Cleanup()
	os.Exit(code)
}

// hostileNames are names of units as nobody should give them.
var hostileNames = []string{
	"java", "two words", "tab\there", "quote'd", `"double"`, "a=b", "semi;colon", "pipe|line", "dollar$HOME",
	"back\\slash", "comma,comma", "Üml äut", "dot.dot", "sl/ash", "per%cent", "[br]acket{s}", "a::b", "-dash", "x=1;2;3 y=2", "😀",
}

// outputs returns what the program prints about sockets of such units and of IPv6
// addresses, once by each of what names can contain.
func outputs(t *testing.T) map[string]string {
	t.Helper()
	type address struct {
		IP   string `json:"ip"`
		Port int    `json:"port"`
	}
	type socket struct {
		Proto  string  `json:"proto"`
		Status string  `json:"status"`
		Unit   string  `json:"unit"`
		Local  address `json:"localaddr"`
		Remote address `json:"remoteaddr"`
	}
	var sockets []socket
	for i, name := range hostileNames {
		for range i + 1 {
			sockets = append(sockets, socket{"tcp6", "ESTABLISHED", name,
				address{"fd00::1", 443}, address{fmt.Sprintf("2001:db8::%x", i+1), 50000 + i}})
		}
	}
	content, err := json.Marshal(sockets)
	if err != nil {
		t.Fatal(err)
	}
	recording := filepath.Join(e2e.Folder(t), "recording.json")
	if err := os.WriteFile(recording, content, 0o644); err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{}
	for _, by := range []string{"unit", "remote-address", "unit,status", "remote-address,remote-port", "type,status"} {
		command := exec.Command(e2e.Plugin(t), "--test="+recording, "--by="+by, "--top=0", "--warning=1000", "--critical=2000")
		output, err := command.Output()
		if err != nil {
			t.Fatalf("--by %s: %v: %s", by, err, output)
		}
		printed[by], _, _ = strings.Cut(string(output), "\n")
	}
	live, _ := exec.Command(e2e.Plugin(t), "--zero", "--warning=limits=80", "--critical=limits=95").Output()
	printed["limits"], _, _ = strings.Cut(string(live), "\n")
	return printed
}

// perfdata returns the performance data of an output.
func perfdata(t *testing.T, output string) string {
	t.Helper()
	_, data, found := strings.Cut(output, "|")
	if !found || strings.Contains(data, "|") {
		t.Fatalf("there is more or less than one | in %q", output)
	}
	return data
}

var datum = regexp.MustCompile(`^([^ '"=]+)=([0-9.]+)%?;`)

// wanted returns what every reader has to make of performance data: label and value.
func wanted(t *testing.T, output string) (lines []string) {
	t.Helper()
	for _, part := range strings.Split(perfdata(t, output), " ") {
		match := datum.FindStringSubmatch(part)
		if match == nil {
			t.Fatalf("%q is no performance datum that every reader takes", part)
		}
		lines = append(lines, match[1]+" "+match[2])
	}
	return lines
}

func TestLabelsAreAllThereAndDistinct(t *testing.T) {
	for by, output := range outputs(t) {
		lines := wanted(t, output)
		want := len(hostileNames)
		switch by {
		case "type,status":
			want = 1
		case "limits":
			continue
		}
		slices.Sort(lines)
		if distinct := slices.Compact(slices.Clone(lines)); len(distinct) != want || len(lines) != want {
			t.Errorf("--by %s: %d labels, %d of them distinct, want %d: %s", by, len(lines), len(distinct), want, output)
		}
	}
}

func TestReadersAgree(t *testing.T) {
	printed := outputs(t)
	for name, reader := range map[string]func(t *testing.T, output string) []string{
		"Monitoring::Plugin": func(t *testing.T, output string) []string {
			needFile(t, "/usr/share/perl5/Monitoring/Plugin/Performance.pm", "libmonitoring-plugin-perl")
			return pipe(t, perfdata(t, output), "perl", "-CS", "testdata/readers.pl")
		},
		"Icinga Web": func(t *testing.T, output string) []string {
			needFile(t, "/usr/share/icingaweb2/modules/monitoring", "icingaweb2-module-monitoring php-cli")
			return pipe(t, perfdata(t, output), "php", "-d", "include_path=/usr/share/php", "testdata/readers.php", "monitoring")
		},
		"Icinga DB Web": func(t *testing.T, output string) []string {
			needFile(t, "/usr/share/icingaweb2/modules/icingadb", "icingadb-web php-cli")
			return pipe(t, perfdata(t, output), "php", "-d", "include_path=/usr/share/php", "testdata/readers.php", "icingadb")
		},
		"Telegraf": func(t *testing.T, output string) []string {
			return pipe(t, output, telegraf(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for by, output := range printed {
				got, want := reader(t, output), wanted(t, output)
				slices.Sort(got) // Icinga DB Web sorts by state
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("--by %s: read\n%q\nwant\n%q", by, got, want)
				}
			}
		})
	}
}

// Icinga 2 splits performance data when it takes a result.
func TestIcingaAgrees(t *testing.T) {
	printed := outputs(t)
	icinga := e2e.NewIcinga(t, e2e.NewAuthority(t), "icinga.example.com")
	config := "object Host \"server\" { check_command = \"dummy\" }\nobject CheckCommand \"cat\" { command = [ \"/bin/cat\", \"$file$\" ] }\n"
	for by, output := range printed {
		config += fmt.Sprintf("object Service %q {\n\thost_name = \"server\"\n\tcheck_command = \"cat\"\n\tcheck_interval = 1s\n\tvars.file = %q\n}\n",
			by, icinga.Write("outputs/"+by, output+"\n"))
	}
	icinga.Start(config)
	for name, result := range icinga.Services(len(printed)) {
		by := strings.TrimPrefix(name, "server!")
		if got, want := result["performance_data"], perfdata(t, printed[by]); got != want {
			t.Errorf("--by %s: Icinga 2 has\n%s\nwant\n%s", by, got, want)
		}
	}
}

func needFile(t *testing.T, path, packages string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		e2e.Skip(t, path+" is missing: apt-get install "+packages)
	}
}

// pipe returns the lines that a program prints about the input.
func pipe(t *testing.T, input, name string, arguments ...string) []string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	command.Stdin = strings.NewReader(input)
	var errors strings.Builder
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, output, &errors)
	}
	return strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
}

// telegraf builds the reader of Telegraf, which is a module of its own.
func telegraf(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "telegraf")
	command := exec.Command("go", "build", "-o", file, ".")
	command.Dir = "testdata/telegraf"
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("building the reader of Telegraf: %v\n%s", err, output)
	}
	return file
}
