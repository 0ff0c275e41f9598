package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// outsideTexts are what others may choose as a name, or as anything else.
var outsideTexts = []string{
	"",
	"   ",
	"a|b=1;2;3;4;5",
	"x\n[OK] - all is well|tcp_LISTEN=1",
	"a\ry\tz\vw\f",
	"'quoted'", `"double"`, "''", "it's=1",
	"a=1", "a;b;c", "|", "=", ";",
	"\x1b[2J\x1b[31mred\x07", "\u009b31mred",
	"\xff\xfe\xfd", "\xed\xa0\x80", "\x00zero",
	"\u202egnp.exe", "\u2066isolated\u2069", "\u061cmark", "\u200b\u200d\ufeff", "\U000e0041",
	"\u00a0\u2028\u2029\u0085",
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "</pre>",
	"`reboot`$(reboot)", "$HOSTNAME$", `\n\t\`, "%s%d%n", "../../etc/passwd",
	"a, b: 5 [CRITICAL]", "a: 5, tcp LISTEN: 7", "[OK] - fine", "(+3 more: 9)", "(always ok)",
	"total", "TOTAL", "ephemeral", "ephemeral_ports", "?", "-", " ? ",
	"x::y", ":::", "check_multi::plugin::label",
	"ünïcödé", "漢字", "שלום", "e\u0301",
	strings.Repeat("|b\n", 64<<10/3), strings.Repeat("漢", 64<<10/3),
}

func TestTextsFromOutsideAreMadeHarmless(t *testing.T) {
	long := strings.Repeat("漢", maxRunes)
	for _, test := range []struct{ text, quoted, printed, name string }{
		{"java", `"java"`, "java", "java"},
		{"a b", `"a b"`, "a b", "a b"},
		{" a ", `" a "`, " a ", "a"},
		{"kworker/0:1", `"kworker/0:1"`, "kworker/0:1", "kworker/0_1"},
		{"[a=1];$b", `"[a=1];$b"`, "_a_1___b", "_a_1___b"},
		{"a|<b>&\"c\"`", `"a_‹b›__c__"`, "a__b___c__", "a__b___c__"},
		{"it's {x}, y", `"it's {x}, y"`, "it_s _x__ y", "it_s _x__ y"},
		{"a\r\n\tb\x1b[31m\x00", `"a___b_[31m_"`, "a___b__31m_", "a___b__31m_"},
		{"\u202egnp\u200b\xff", `"_gnp__"`, "_gnp__", "_gnp__"},
		{"ünïcödé 漢字", `"ünïcödé 漢字"`, "ünïcödé 漢字", "ünïcödé 漢字"},
		{long, `"` + long + `"`, long, long},
		{long + "x", `"` + long + `..."`, long + "...", long + "..."},
		{"", `""`, "", "_"},
		{"  ", `"  "`, "  ", "_"},
		{"?", `"?"`, "?", "_?"},
		{"-", `"-"`, "-", "_-"},
		{"Total", `"Total"`, "Total", "_Total"},
		{"ephemeral", `"ephemeral"`, "ephemeral", "_ephemeral"},
		{"ephemeral_ports", `"ephemeral_ports"`, "ephemeral_ports", "_ephemeral_ports"},
	} {
		if got := quote(test.text); got != test.quoted {
			t.Errorf("%.50q in quotes: got %s", test.text, got)
		}
		if got := printable(test.text); got != test.printed {
			t.Errorf("%.50q printed: got %q", test.text, got)
		}
		if got := cleanName(test.text); got != test.name {
			t.Errorf("%.50q as a name: got %q", test.text, got)
		}
	}
	for text, want := range map[string]string{"?": "_?", "-": "_-", "": "_", "a\x00b": "a\ufffdb", "a:b=c": "a:b=c"} {
		if got := givenName(text); got != want {
			t.Errorf("%q as a value: got %q", text, got)
		}
	}
}

// Names of users on Windows have a backslash, which is harmful elsewhere.
func TestBackslashesAreShownOnWindowsOnly(t *testing.T) {
	for system, want := range map[string]string{"windows": `CORP\anna`, "linux": "CORP_anna", "freebsd": "CORP_anna"} {
		if got := cleaned(`CORP\anna`, harmfulTyped(system)); got != want {
			t.Errorf("%s: got %s", system, got)
		}
	}
	if got := printable(`CORP\anna`); got != "CORP_anna" {
		t.Errorf("got %s", got)
	}
}

func TestMessagesAreOneLine(t *testing.T) {
	if got := errorText(errors.New("a|b\nc\td\x1b[1m 漢")); got != "[UNKNOWN] - a b c d [1m 漢\n" {
		t.Errorf("got %q", got)
	}
}

func TestCauseOfAFileErrorHasNoPath(t *testing.T) {
	_, err := os.Open("testdata/missing.json")
	if err == nil || cause(err).Error() != fs.ErrNotExist.Error() && !errors.Is(cause(err), fs.ErrNotExist) || strings.Contains(cause(err).Error(), "testdata") {
		t.Errorf("got %v", err)
	}
	if other := errors.New("other"); !errors.Is(cause(other), other) {
		t.Errorf("got %v", cause(other))
	}
}

func TestDebugLogTellsAStepInALine(t *testing.T) {
	var told strings.Builder
	debugLog{&told}.done(5, errors.New("of\nno use"), time.Now().Add(-time.Hour), "a|%s", "step\n")
	if got := told.String(); !strings.HasPrefix(got, "debug: a step : 5 found, error of no use, in 36000") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
	debugLog{}.printf("nothing listens")
}
