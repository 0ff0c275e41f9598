package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSocketBelongsToAllWhoHoldIt(t *testing.T) {
	h := looked(t, procTree(t, map[string]string{
		"1/comm": "systemd\n", "1/fd/3": "-> socket:[10]", "1/fd/4": "-> socket:[11]",
		"20/comm": "java\n", "20/fd/3": "-> socket:[11]", "20/fd/4": "-> socket:[13]", "20/fd/5": "-> socket:[14]",
		"30/comm": "helper\n", "30/fd/3": "-> socket:[13]", "30/fd/4": "-> socket:[13]",
		"31/comm": "java\n", "31/fd/3": "-> socket:[14]",
	}))
	for inode, want := range map[uint32]string{
		10: "systemd 1",
		11: "java 20", // which the first process keeps for it
		13: "helper+java 20 30",
		14: "java 20 31",
	} {
		if got := h.text(inode); got != want {
			t.Errorf("%d: got %s, want %s", inode, got, want)
		}
	}
}

// Between fork and exec a child holds what its parent holds. It does not count
// where it has let go by the time that it is named.
// The first process of a container holds what it serves with.
func TestOnlyAServiceManagerIsNoHolderBesideOthers(t *testing.T) {
	for name, want := range map[string]string{"systemd": "helper", "java": "helper+java", hidden: "helper"} {
		if got := sharedBy([]holder{{pid: 1, name: name}, {pid: 2, name: "helper"}}).process; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got := sharedBy([]holder{{pid: 1, name: "systemd"}}).process; got != "systemd" {
		t.Errorf("alone: got %s", got)
	}
}

func TestChildThatHasLetGoIsNoHolder(t *testing.T) {
	for _, test := range []struct{ name, child, removed, want string }{
		{"the child has started a program", "true", "30/fd/3", "web 20"},
		{"the child has ended", "true", "30", "web 20"},
		{"the child still holds it", "true", "", "true+web 20 30"},
		{"the child is of the same program", "web", "", "web 20 30"},
		{"all have let go", "true", "20/fd/3 30/fd/3", "true+web 20 30"},
	} {
		root := procTree(t, map[string]string{
			"20/comm": "web\n", "20/fd/3": "-> socket:[13]",
			"30/comm": test.child + "\n", "30/fd/3": "-> socket:[13]",
		})
		h := looked(t, root)
		h.alone(30) // its name is known, whatever becomes of it
		for path := range strings.FieldsSeq(test.removed) {
			if err := os.RemoveAll(filepath.Join(string(root), path)); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.text(13); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestNamesNeedDescriptors(t *testing.T) {
	h := looked(t, procTree(t, map[string]string{"7/comm": "web\n", "7/status": "Uid:\t0\t0\t0\t0\n", "7/fd/3": "-> socket:[1]"}))
	p := &pass{host: &host{holders: h}, ctx: t.Context(), fields: fieldProcess}
	var limits unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limits); err != nil {
		t.Fatal(err)
	}
	few := limits
	few.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	h.of(1)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limits); err != nil {
		t.Fatal(err)
	}
	if err := p.readLate(nil); err == nil || err.Error() != "naming the processes: too many open files" {
		t.Errorf("got %v", err)
	}
}

func TestFilterMatchesAnyHolder(t *testing.T) {
	h := looked(t, procTree(t, map[string]string{
		"20/comm": "java\n", "20/fd/3": "-> socket:[13]",
		"30/comm": "helper\n", "30/fd/3": "-> socket:[13]",
	}))
	held, _ := h.of(13)
	for item, want := range map[string]answer{"java": yes, "helper": yes, "help*": yes, "helper+java": yes, "not:java": no, "not:web": yes, "web": no} {
		if want == yes { // so a group of this name can exist
			configOf(t, "--process", item, "--by", "process", "-w", "helper+java=5")
		}
		asked := configOf(t, "--process", item).question
		s := &socket{proto: "tcp", owner: held}
		s.Status = "LISTEN"
		if got := asked.asks(s); got != want {
			t.Errorf("%s: got %v, want %v", item, got, want)
		}
	}
}

func TestUserOfAProgramIsTheOneItRunsAs(t *testing.T) {
	for status, want := range map[string]string{
		"Name:\tweb\nUid:\t0\t2000000001\t0\t2000000001\nGid:\t1\t1\t1\t1\n": "2000000001",
		"Uid:\t0\t0\t0\t0\n": "root",
		"Uid:\tx\ty\n":       hidden,
		"":                   hidden,
	} {
		h := looked(t, procTree(t, map[string]string{"7/comm": "web\n", "7/status": status, "7/fd/3": "-> socket:[1]"}))
		if held, _ := h.of(1); len(held.holders) != 1 || held.holders[0].user != want {
			t.Errorf("%q: got %v", status, held)
		}
	}
}

// Reading the command line of a process blocks while it is in a page fault that
// does not end.
func TestHungProcessesCostLittleAndNothingIsLost(t *testing.T) {
	const hung = 50
	files := map[string]string{}
	for pid := 100; pid < 100+hung; pid++ {
		files[fmt.Sprint(pid, "/comm")] = "fifteen-letters\n"
		files[fmt.Sprint(pid, "/fd/3")] = fmt.Sprintf("-> socket:[%d]", pid)
	}
	// These two have the rest of their names elsewhere, or need none.
	files["200/comm"], files["200/exe"], files["200/fd/3"] = "very-long-proce\n", "-> /opt/very-long-process", "-> socket:[200]"
	files["201/comm"], files["201/fd/3"] = "web\n", "-> socket:[201]"
	root := procTree(t, files)
	for pid := 100; pid <= 201; pid++ {
		pipe := filepath.Join(string(root), fmt.Sprint(pid), "cmdline")
		if unix.Mkfifo(pipe, 0o600) != nil {
			continue // there is no such process
		}
		t.Cleanup(func() { // for whoever still waits
			if writer, err := unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
				_ = unix.Close(writer)
			}
		})
	}
	h := looked(t, root)
	started := time.Now()
	for inode := uint32(100); inode < 100+hung; inode++ {
		if got, want := h.text(inode), fmt.Sprintf("fifteen-letters %d", inode); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if passed := time.Since(started); h.delayed < maxDelay || passed > hung*maxDelay/2 {
		t.Errorf("%d hung processes took %s, of which %s were waiting", hung, passed, h.delayed)
	}
	for inode, want := range map[uint32]string{200: "very-long-process 200", 201: "web 201"} {
		if got := h.text(inode); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
