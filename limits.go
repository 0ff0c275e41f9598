package main

import (
	"fmt"
	"math"
)

// quota is a limit that the kernel tells in a few small files.
type quota struct {
	limitRow
	used, size float64
	unit       string // behind the size
	where      string // " in web", where there are several
}

func (q quota) row() limitRow { return q.limitRow }

func (quota) tally() *tally { return nil }

func (q quota) figure(*counts) figure {
	if q.size == 0 {
		return figure{name: q.title, text: q.title + ": not in use"}
	}
	return q.percentage(q.used, q.size, q.sizeText()+q.where)
}

// sizeText returns a number, or an amount of memory in its largest unit.
func (q quota) sizeText() string {
	if q.unit == "" {
		return fmt.Sprintf("%.0f", q.size)
	}
	size, unit := q.size/(1<<20), "MiB"
	if size >= 1<<10 {
		size, unit = size/(1<<10), "GiB"
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// percentage returns the figure for a share, to a tenth of a percent.
func (l limitRow) percentage(used, size float64, subject string) figure {
	percent := math.Min(math.Round(1000*used/size)/10, 100)
	return figure{
		name: l.title, label: l.label, unit: "%", max: 100, value: percent,
		text: l.title + ": " + percentText(percent) + " of " + subject,
	}
}

// percentText has a decimal only where there is nothing in front of it.
func percentText(percent float64) string {
	if percent > 0 && percent < 1 {
		return fmt.Sprintf("%.1f%%", percent)
	}
	return fmt.Sprintf("%d%%", int(percent))
}
