package main

import "testing"

func TestNamesOfLimitsAreReserved(t *testing.T) {
	for _, name := range []string{"limits", "Limits", "ephemeral", "ephemeral_ports", "backlog", "conntrack", "orphans", "memory", "tcp_memory", "timewait", "time_wait_buckets", "files", "open_files", "total", "?", "-", ""} {
		if !isReserved(name) {
			t.Errorf("%q is not reserved", name)
		}
	}
	for _, name := range []string{"file", "limit", "java", "tcp", "time_wait", "limits "} {
		if isReserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}
