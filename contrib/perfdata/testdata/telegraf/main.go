// Command telegraf prints what Telegraf reads from the output of a check on standard
// input: label and value of each performance datum.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/influxdata/telegraf/plugins/parsers/nagios"
)

func main() {
	output, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	metrics, err := (&nagios.Parser{}).Parse(output)
	if err != nil {
		panic(err)
	}
	for _, metric := range metrics {
		if label, ok := metric.GetTag("perfdata"); ok {
			value, _ := metric.GetField("value")
			fmt.Println(label, value)
		}
	}
}
