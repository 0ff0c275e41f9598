//go:build linux

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// nothingIn fails the test where a folder is not empty.
func nothingIn(t *testing.T, folder string) {
	t.Helper()
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestComparisonMeasuresEveryCommand(t *testing.T) {
	e2e.NeedRoot(t)
	e2e.Need(t, "iproute2 net-tools python3-psutil", "ss", "netstat", "/usr/bin/python3")
	folder := t.TempDir()
	bench := exec.Command(os.Args[0], "--baseline="+e2e.Plugin(t), "--sockets=200,0", "--rounds=2",
		"--loads=established,proxy=200,leak=200,outgoing=200,incoming=200,matches=1000,namespaces=2")
	bench.Env = append(os.Environ(), "TMPDIR="+folder)
	var progress bytes.Buffer
	bench.Stderr = &progress
	output, err := bench.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	rows := 0
	for _, l := range []load{
		{established, 0}, {established, 200}, {proxy, 200}, {leak, 200},
		{outgoing, 200}, {incoming, 200}, {matches, 1000}, {namespaces, 2},
	} {
		for _, name := range measuredWith(l) {
			names := []string{name}
			if isCheck(name) {
				names = append(names, before+name)
			}
			for _, n := range names {
				rows++
				row := "| " + l.String() + " | " + n + " | "
				_, measured, found := strings.Cut(string(output), row)
				measured, _, _ = strings.Cut(measured, "\n")
				// Not every machine lets BPF programs in.
				if !found || name != iterator && !strings.HasSuffix(measured, " | 2 |") {
					t.Errorf("%s%s", row, measured)
				}
			}
		}
	}
	if got := strings.Count(string(output), "\n| "); got != rows+2+len(judgedIdle) {
		t.Errorf("%d rows", got)
	}
	for _, text := range append(judgedIdle, "Hardware: ") {
		if !strings.Contains(string(output), text) {
			t.Errorf("%q is missing", text)
		}
	}
	if strings.Contains(string(output), "NaN") || t.Failed() {
		t.Errorf("output:\n%s", output)
	}
	nothingIn(t, folder)
}

// judgedIdle are the targets that the comparison above can judge.
var judgedIdle = []string{
	"| idle: time against ss | at most 1.00 | ",
	"| idle: CPU time against before | at most 0.70 | ",
	"| idle: peak memory, `check_network_connections` | at most 6.0 MiB | ",
}

func TestInterruptedComparisonLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	bench := exec.Command(os.Args[0], "--loads=established=200", "--rounds=1000000")
	bench.Env = append(os.Environ(), "TMPDIR="+folder)
	bench.Stderr = write
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	// The progress is the sign that the load is there.
	_ = read.SetReadDeadline(time.Now().Add(2 * time.Minute))
	said := ""
	for buffer := make([]byte, 1000); !strings.Contains(said, "round 3 "); {
		n, err := read.Read(buffer)
		if err != nil {
			t.Fatalf("%v after: %s", err, said)
		}
		said += string(buffer[:n])
	}
	_ = bench.Process.Signal(os.Interrupt)
	if _, err := io.ReadAll(read); err != nil {
		t.Error(err)
	}
	if err := bench.Wait(); err == nil {
		t.Error("an interrupted comparison says that all is well")
	}
	nothingIn(t, folder)
}

func TestBaselineIsAFileOrARevision(t *testing.T) {
	e2e.Need(t, "git tar", "git", "tar")
	root := t.TempDir()
	git := func(arguments ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-C", root, "-c", "user.name=x", "-c", "user.email=x@localhost"}, arguments...)...)
		if output, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", arguments, err, output)
		}
	}
	says := func(text string) {
		t.Helper()
		program := "package main\n\nfunc main() { println(\"" + text + "\") }\n"
		if err := os.WriteFile(filepath.Join(root, "main.go"), []byte(program), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module x\n\ngo 1.25\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	says("old")
	git("add", ".")
	git("commit", "-q", "-m", "old")
	git("tag", "v1")
	says("new")
	git("commit", "-q", "-a", "-m", "new")

	program, err := buildBaseline(t.Context(), root, "v1", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(program).CombinedOutput(); err != nil || string(output) != "old\n" {
		t.Errorf("v1 says %q, %v", output, err)
	}
	if path, err := buildBaseline(t.Context(), root, program, t.TempDir()); err != nil || path != program {
		t.Errorf("a file: %q, %v", path, err)
	}
	if _, err := buildBaseline(t.Context(), root, "v2", t.TempDir()); err == nil || !strings.Contains(err.Error(), "v2") {
		t.Errorf("no such revision: %v", err)
	}
}
