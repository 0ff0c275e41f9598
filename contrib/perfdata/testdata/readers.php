<?php
// Prints what Icinga Web (monitoring) or Icinga DB Web (icingadb) reads from the
// performance data on standard input: label and value of each.
require_once 'Icinga/Application/Cli.php';

Icinga\Application\Cli::start(null, sys_get_temp_dir());
spl_autoload_register(function ($class) {
    $path = explode('\\', $class);
    if (array_splice($path, 0, 2) === ['Icinga', 'Module']) {
        require '/usr/share/icingaweb2/modules/' . strtolower($path[0]) . '/library/' . implode('/', $path) . '.php';
    }
});
$sets = ['monitoring' => 'Icinga\Module\Monitoring\Plugin\PerfdataSet', 'icingadb' => 'Icinga\Module\Icingadb\Util\PerfDataSet'];
foreach ($sets[$argv[1]]::fromString(stream_get_contents(STDIN)) as $datum) {
    echo $datum->getLabel(), ' ', $datum->getValue(), "\n";
}
