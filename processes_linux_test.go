package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// procTree makes a proc file system of files and, where a content begins with
// "-> ", of links.
func procTree(t testing.TB, files map[string]string) procfs {
	t.Helper()
	root := t.TempDir()
	addToTree(t, procfs(root), files)
	return procfs(root)
}

func addToTree(t testing.TB, root procfs, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(string(root), name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, isLink := strings.CutPrefix(content, "-> "); err == nil && isLink {
			err = os.Symlink(target, path)
		} else if err == nil && strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesOfProcesses(t *testing.T) {
	const short = "very-long-proce" // what the kernel keeps of very-long-process
	for _, test := range []struct {
		name, comm, cmdline string
		exe                 string
		want                string
	}{
		{"short", "nginx\n", "/usr/sbin/other\x00", "/usr/sbin/nginx-debug", "nginx"},
		{"cut, completed from the command line", short + "\n", "/opt/very-long-process\x00--flag\x00", "", "very-long-process"},
		{"cut, completed from the program", short + "\n", "/opt/very-long-process-of-others\x00", "/opt/very-long-process", "very-long-process"},
		{"cut, and the program was replaced", short + "\n", "", "/opt/very-long-process (deleted)", "very-long-process"},
		{"cut, without a path", short + "\n", "very-long-process\x00", "", "very-long-process"},
		{"cut, and the command line says something else", short + "\n", "python3\x00very-long-process\x00", "", short},
		{"cut, with nothing to complete it", short + "\n", "", "", short},
		{"as long as it can be", "fifteen-letters\n", "/bin/fifteen-letters\x00", "", "fifteen-letters"},
		{"a command line of megabytes", short + "\n", "/very-long-process" + strings.Repeat("x", 2<<20), "", "very-long-process" + strings.Repeat("x", 4<<10-len("/very-long-process"))},
		{"with a line break", "a\nb\n", "", "", "a\nb"},
		{"empty", "\n", "", "", "_"},
		{"what stands for a hidden one", "?\n", "", "", "_?"},
		{"what stands for none", "-\n", "", "", "_-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc := procTree(t, map[string]string{"7/comm": test.comm, "7/cmdline": test.cmdline, "7/exe": "-> " + cmp.Or(test.exe, "/bin/sh")})
			if got := nameUnder(proc); got != test.want {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := nameUnder(procTree(t, nil)); got != hidden {
		t.Errorf("of a process that has ended: got %q", got)
	}
	if got := nameUnder(procTree(t, map[string]string{"7/comm": short + "\n"})); got != short {
		t.Errorf("without a command line: got %q", got)
	}
}

// nameUnder returns the name of the process 7 on a recorded host.
func nameUnder(root procfs) string { return holdersUnder(root, debugLog{}).name(7) }

// looked returns the holders after one look through the processes.
func looked(t *testing.T, root procfs) *holders {
	t.Helper()
	h := holdersUnder(root, debugLog{})
	if err := h.find(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// text returns the names and the ids of who holds a socket.
func (h *holders) text(inode uint32) string {
	found, _ := h.of(inode)
	text := found.process
	for _, each := range slices.SortedFunc(slices.Values(found.holders), func(a, b holder) int { return cmp.Compare(a.pid, b.pid) }) {
		text += fmt.Sprint(" ", each.pid)
	}
	return text
}

func TestHoldersOfSockets(t *testing.T) {
	h := looked(t, procTree(t, map[string]string{
		"self":          "-> 7",
		"not-a-process": "",
		"7/comm":        "web\n",
		"7/fd/0":        "-> /dev/null",
		"7/fd/1":        "-> pipe:[100]",
		"7/fd/3":        "-> socket:[101]",
		"7/fd/4":        "-> socket:[102]",
		"7/fd/5":        "-> anon_inode:[eventpoll]",
		"7/fd/6":        "-> /tmp/socket:[103]",
		"7/fd/7":        "-> socket:[4294967400]", // the lower 32 bits are 104
		"8/comm":        "without links\n",
		"8/fd/":         "",
		"9/comm":        "no thread left\n",
		"9/fd/":         "",
		"9/task/9":      "",
		"9/task/10":     "",
		"11x/fd/3":      "-> socket:[105]",
	}))
	for inode, want := range map[uint32]string{
		101: "web 7", 102: "web 7", 104: "web 7",
		100: hidden, 103: hidden, 105: hidden, 106: hidden,
	} {
		if got := h.text(inode); got != want {
			t.Errorf("%d: got %q", inode, got)
		}
	}
}

func TestLinksOfAnyThreadServeWhereTheFirstHasEnded(t *testing.T) {
	// /proc lists processes only, but has the folders of all threads.
	proc := procTree(t, map[string]string{
		"10/comm":    "headless\n",
		"10/fd/":     "",
		"10/task/10": "",
		"10/task/90": "",
		"10/task/91": "",
		"91/fd/3":    "-> socket:[105]",
	})
	h := holdersUnder(proc, debugLog{})
	if err := (&walker{holders: h, buffer: make([]byte, 4<<10)}).process(10); err != nil {
		t.Fatal(err)
	}
	if got := h.text(105); got != "headless 10" {
		t.Errorf("got %q", got)
	}
}

func TestProcessesAreLookedThroughTwiceAtMost(t *testing.T) {
	proc := procTree(t, map[string]string{"7/comm": "web\n", "7/fd/3": "-> socket:[1]"})
	var told strings.Builder
	h := looked(t, proc)
	h.log = debugLog{&told}
	for inode := uint32(2); inode < 4; inode++ {
		addToTree(t, proc, map[string]string{fmt.Sprintf("7/fd/%d", inode+2): fmt.Sprintf("-> socket:[%d]", inode)})
		if err := h.find(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.text(inode); got != hidden {
			t.Errorf("the first look was repeated for %d", inode)
		}
		if err := h.findAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.text(2); got != "web 7" {
		t.Error("the second look does not find what is new")
	}
	if got := h.text(3); got != hidden || strings.Count(told.String(), "sockets of processes") != 1 {
		t.Errorf("there was a third look: %s", told.String())
	}
}

func TestProcThatCannotBeReadIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		files   map[string]string
		message string
	}{
		"nothing in it":         {nil, "finding the processes: there are none under /proc, not even this one"},
		"no folder for links":   {map[string]string{"7/fd": ""}, "finding the processes: not a directory"},
		"no folder for threads": {map[string]string{"7/fd/": "", "7/task": ""}, "finding the processes: not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			h := holdersUnder(procTree(t, test.files), debugLog{})
			for range 2 { // the error stays
				if err := h.find(t.Context()); err == nil || err.Error() != test.message {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	h := holdersUnder(procfs(t.TempDir())+"/none", debugLog{})
	if err := h.find(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOverflowUser(t *testing.T) {
	for name, test := range map[string]struct {
		files  map[string]string
		id     uint32
		exists bool
	}{
		"the first user namespace":  {map[string]string{"self/uid_map": "         0          0 4294967295\n"}, 0, false},
		"another one":               {map[string]string{"self/uid_map": "         0       1000          1\n"}, 65534, true},
		"another one, and a number": {map[string]string{"self/uid_map": "0 1000 1\n", "sys/kernel/overflowuid": "4711\n"}, 4711, true},
		"no user namespaces":        {nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if id, exists := procTree(t, test.files).overflowUser(); id != test.id || exists != test.exists {
				t.Errorf("got %d, %t", id, exists)
			}
		})
	}
}

func TestHiddenProcessesAreNoticed(t *testing.T) {
	if procTree(t, map[string]string{"1/": "", "7/": ""}).hidesProcesses() {
		t.Error("the first process is there")
	}
	if !procTree(t, map[string]string{"7/": ""}).hidesProcesses() {
		t.Error("the first process is not there")
	}
	// In a container the first process is there, but others are not.
	if procTree(t, map[string]string{"1/": "", "self/ns/pid": ""}).seesAll() {
		t.Error("this is not the first PID namespace")
	}
}

var socketLink = regexp.MustCompile(`^socket:\[([0-9]+)\]$`)

// FuzzProcRows tries a text as each of what the program reads under /proc.
func FuzzProcRows(f *testing.F) {
	for _, text := range []string{
		"socket:[12345]", "socket:[4294967296]", "socket:[]", "socket:[1", "socket:[-1]", "socket:[99999999999999999999999]", "socket:[1]]", "anon_inode:[eventpoll]", "pipe:[5]", "/tmp/socket:[1]",
		"a) b", ") S 1 2 3", "(((", "1 (x) S", "", "\n", "x\n1 (y) S 1",
	} {
		f.Add(text, uint64(123456789))
	}
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "7"), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, number uint64) {
		inode, isSocket := parseSocketLink([]byte(text))
		link := socketLink.FindStringSubmatch(text)
		if isSocket != (link != nil) {
			t.Errorf("a socket: got %t", isSocket)
		}
		if link != nil {
			whole, _ := new(big.Int).SetString(link[1], 10)
			if want := whole.And(whole, big.NewInt(math.MaxUint32)); want.Cmp(big.NewInt(int64(inode))) != 0 {
				t.Errorf("got the inode %d, want %s", inode, want)
			}
		}

		if len(text) > 64 { // TASK_COMM_LEN and more: no name is as long
			return
		}
		// Whatever the name of the process is, the other fields are found.
		for _, stat := range []string{
			text,
			fmt.Sprintf("4711 (%s) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 12345 678 18446744073709551615 0\n", text, number),
		} {
			if err := os.WriteFile(filepath.Join(root, "7/stat"), []byte(stat), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := procfs(root).started(7); stat != text && got != number {
				t.Errorf("got the start %d of %q", got, stat)
			}
		}
	})
}
