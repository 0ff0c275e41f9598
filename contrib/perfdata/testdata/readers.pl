# Prints what Monitoring::Plugin reads from the performance data on standard input:
# label and value of each.
use strict;
use warnings;
use Monitoring::Plugin::Performance;
my $text = do { local $/; <STDIN> };
chomp $text;
print $_->label, ' ', $_->value, "\n" for Monitoring::Plugin::Performance->parse_perfstring($text);
