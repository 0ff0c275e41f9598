//go:build linux

package main

import (
	"bytes"
	"math"
	"path/filepath"
	"testing"
	"time"

	"check_network_connections/contrib/e2e"
)

// builtMeasure builds the program measure.
func builtMeasure(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "measure")
	if err := goBuild(t.Context(), e2e.Root(), "./bench/measure", program); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestOnlyTheCommandItselfIsMeasured(t *testing.T) {
	program := builtMeasure(t)
	ballast := bytes.Repeat([]byte("memory of this process"), 5<<20)
	nothing, _, err := run(t.Context(), program, []string{"true"})
	if err != nil {
		t.Fatal(err)
	}
	if nothing.memory < 100<<10 || nothing.memory > 4<<20 {
		t.Errorf("true took %d bytes next to a process of %d", nothing.memory, len(ballast))
	}
	// Waiting takes time and no processor, counting takes both.
	waiting, _, err := run(t.Context(), program, []string{"sleep", "0.2"})
	if err != nil || waiting.wall < 200*time.Millisecond || waiting.cpu > 100*time.Millisecond {
		t.Errorf("sleep 0.2: %+v, %v", waiting, err)
	}
	counting, _, err := run(t.Context(), program, []string{"sh", "-c", "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done"})
	if err != nil || counting.cpu < 20*time.Millisecond {
		t.Errorf("counting: %+v, %v", counting, err)
	}
	if _, code, err := run(t.Context(), program, []string{"sh", "-c", "exit 7"}); err != nil || code != 7 {
		t.Errorf("exit 7: %d, %v", code, err)
	}
	if _, _, err := run(t.Context(), program, []string{"/no/such/program"}); err == nil {
		t.Error("a program that does not exist was measured")
	}
}

func TestCommandWithAnotherExitCodeIsSkipped(t *testing.T) {
	program := builtMeasure(t)
	for _, test := range []struct {
		script string
		code   int
		want   string
	}{
		{"exit 0", 0, ""},
		{"exit 1", 1, ""},
		{"exit 7", 0, "exit status 7"},
		{"exit 0", 1, "it said nothing"},
		{"echo '[UNKNOWN] - no'; echo x; exit 3", 0, "[UNKNOWN] - no"},
		{"echo Traceback:; echo no psutil; exit 1", 0, "no psutil"},
	} {
		var m measurement
		m.take(t.Context(), program, command{"", []string{"sh", "-c", test.script}, test.code})
		if m.problem != test.want || len(m.samples) == 1 != (test.want == "") {
			t.Errorf("%s: %q, want %q; %d samples", test.script, m.problem, test.want, len(m.samples))
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(test.values); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}
