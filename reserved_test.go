package main

import "testing"

func TestNamesWithAMeaningAreReserved(t *testing.T) {
	for _, name := range []string{"limits", "Limits", "ephemeral", "ephemeral_ports", "backlog", "conntrack", "orphans", "memory", "tcp_memory", "timewait", "time_wait_buckets", "files", "open_files", "total", "tcp", "UDP6", "time_wait", "Close Wait", "fin-wait-1", "estab", "?", "-", ""} {
		if !isReserved(name) {
			t.Errorf("%q is not reserved", name)
		}
	}
	for _, name := range []string{"file", "limit", "java", "tcpdump", "time_waiter", "limits "} {
		if isReserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}
