//go:build linux

package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

func TestCallsOfTheCheckAreMeasuredBeforeToo(t *testing.T) {
	b := &built{folder: "/new", baseline: "/old/check"}
	var got []string
	for _, c := range b.commands(load{matches, 500_000}) {
		got = append(got, c.name+" = "+strings.Join(c.arguments, " "))
	}
	want := []string{
		"check_network_connections = /new/check_network_connections",
		"before: check_network_connections = /old/check",
		"check_network_connections --local-port 443 = /new/check_network_connections --local-port 443",
		"before: check_network_connections --local-port 443 = /old/check --local-port 443",
		"check_network_connections --local-port 443 --by remote-address = /new/check_network_connections --local-port 443 --by remote-address",
		"before: check_network_connections --local-port 443 --by remote-address = /old/check --local-port 443 --by remote-address",
		"ss -tan sport = :443 = ss -tan sport = :443",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	b.baseline = ""
	if got := b.commands(load{matches, 500_000}); len(got) != 4 {
		t.Errorf("without a baseline: %v", got)
	}
}

func TestCallsOfTheCheckEndAsExpected(t *testing.T) {
	b := &built{folder: filepath.Dir(e2e.Plugin(t))}
	inNamespace(t)
	held, err := startLoad(shape{load: load{established, 200}, peers: peers, limit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	tried := make(map[string]bool)
	for _, l := range []load{{established, variantSockets}, {established, filterSockets}, {outgoing, 0}, {matches, 0}, {namespaces, 0}} {
		for _, c := range b.commands(l) {
			if !isCheck(c.name) || tried[c.name] {
				continue
			}
			tried[c.name] = true
			code := 0
			output, err := exec.Command(c.arguments[0], c.arguments[1:]...).CombinedOutput()
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				code = ended.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code {
				t.Errorf("%s: exit code %d, want %d\n%s", c.name, code, c.code, output)
			}
		}
	}
	if len(tried) != 11 {
		t.Errorf("%d calls were tried: %v", len(tried), tried)
	}
	if err := held.stop(); err != nil {
		t.Error(err)
	}
}
