package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"check_network_connections/contrib/e2e"
)

// Process names are tested in TestHostileProcessNamesStayNames. The kernel has
// only their first 15 bytes; the rest is completed from the command line.
func TestALongHostileProcessNameStaysAName(t *testing.T) {
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	for _, text := range []string{strings.Repeat("<b>|\n;=, ", 7<<10), strings.Repeat("\x1b[31m\u202e", 8<<10)} {
		command := helper("server", text[:15], "127.0.0.1:0", "keep")
		command.Args[0] = text
		_, address := start(t, command)
		output, code := outputOf(t, exec.Command(plugin, "--by", "process", "--local-port", portOf(address), "-w", "0"))
		metrics, err := harmless(output)
		if err != nil || code != 1 || len(metrics) != 1 || metrics[0].value != 1 {
			t.Errorf("got %d %s %v", code, output, err)
			continue
		}
		if length := len(metrics[0].label); length != maxRunes+len("...") {
			t.Errorf("the label has %d bytes: %s", length, metrics[0].label)
		}
	}
}

// hostileAccounts are names of users that a user database can have.
func hostileAccounts() []string {
	var names []string
	for _, text := range hostileTexts {
		if strings.TrimSpace(text) != "" && strings.Trim(text[:1], "+-#") != "" && !strings.ContainsAny(text, ":\n") {
			names = append(names, text)
		}
	}
	return names
}

func TestHostileUserNamesStayNames(t *testing.T) {
	e2e.Need(t, "util-linux", "unshare", "mount")
	plugin := inOwnNetwork(t)
	if plugin == "" {
		return
	}
	names := hostileAccounts()
	const firstUser = 700_000
	var plain stdnet.ListenConfig
	plain.SetMultipathTCP(false) // the user of such a socket does not change
	database := "root:x:0:0::/root:/bin/sh\n"
	for i, name := range names {
		database += fmt.Sprintf("%s:x:%d:%d::/:/bin/false\n", name, firstUser+i, firstUser)
		for range i + 1 {
			listener, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			file, err := listener.(*stdnet.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := file.Chown(firstUser+i, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, []byte(database), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `mount --bind "$1" /etc/passwd && shift && exec "$@"`
	for _, arguments := range []string{"--by user --top 0", "--by user,status --top 0 -c 0", "--by status,user -w 0 --top 0"} {
		output, code := outputOf(t, exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, "sh", passwd, plugin}, strings.Fields(arguments)...)...))
		metrics, err := harmless(output)
		if err != nil || code == 3 {
			t.Errorf("%s: %d %v", arguments, code, err)
			continue
		}
		got, want := map[string]int{}, map[string]int{}
		for _, m := range metrics {
			got[m.label] += int(m.value)
		}
		for i, name := range names {
			label := outsideName(name)
			switch {
			case strings.HasPrefix(arguments, "--by user,"):
				label += "_LISTEN"
			case strings.HasPrefix(arguments, "--by status,"):
				label = "LISTEN_" + label
			}
			want[label] += i + 1
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: got\n%q\nwant\n%q", arguments, got, want)
		}
	}
}

func TestHostileNamesOfNetworkNamespacesStayNames(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "util-linux", "unshare", "mount")
	plugin := e2e.Plugin(t)
	// /run has no other names in this mount namespace than the hostile one, for
	// our own network namespace.
	script := `mount -t tmpfs none /run && mkdir /run/netns && touch "/run/netns/$1" && mount --bind /proc/self/ns/net "/run/netns/$1" && shift && exec "$@"`
	for _, text := range hostileTexts {
		name := strings.NewReplacer("/", "", "\x00", "").Replace(text)
		if name == "" || len(name) > 255 {
			continue
		}
		for _, netns := range []string{"self", name} {
			command := exec.Command("unshare", "--mount", "--net", "sh", "-c", script, "sh", name, plugin, "--by", "netns", "-w", "total=0:", "--netns", netns)
			output, code := outputOf(t, command)
			if _, err := harmless(output); err != nil || code < 0 || code > 3 {
				t.Errorf("%q: %d %s %v", name, code, output, err)
			}
		}
	}
}

func TestWhateverTheArgumentsTheProgramEndsHarmlessly(t *testing.T) {
	plugin := e2e.Plugin(t)
	deadline := time.Now().Add(commandLinesLimit)
	lines, codes := 0, [4]int{}
	for line := range commandLines(2, 3, allRecordings(t)) {
		if lines++; lines > 400 || time.Now().After(deadline) {
			break
		}
		for i := range line {
			line[i] = strings.ReplaceAll(line[i], "\x00", "") // the kernel takes none
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		command := exec.CommandContext(ctx, plugin, line...)
		var output, faults bytes.Buffer
		command.Stdout, command.Stderr = &output, &faults
		_ = command.Run()
		cancel()
		code := command.ProcessState.ExitCode()
		if _, err := harmless(output.String()); err != nil || code < 0 || code > 3 {
			t.Errorf("%.300q: %d %v", line, code, err)
			continue
		}
		for told := range strings.Lines(faults.String()) {
			isPrintable := !strings.ContainsFunc(strings.TrimSuffix(told, "\n"), func(r rune) bool { return !unicode.IsPrint(r) })
			if !isPrintable || !strings.HasPrefix(told, "debug: ") {
				t.Errorf("%.300q: on standard error: %.300q", line, told)
			}
		}
		codes[code]++
	}
	t.Logf("%d command lines gave the exit codes 0 to 3 so often: %v", lines-1, codes)
	if lines < 100 {
		t.Errorf("%d command lines do not test much", lines-1)
	}
}
