<?php
// Lets the module read its templates and prints, for each metric on standard input,
// the template that has a curve for it.
require_once 'Icinga/Application/Cli.php';

$app = Icinga\Application\Cli::start(null, getenv('CONFIGURATION'));
$app->getModuleManager()->loadModule('graphite', '/usr/share/icingaweb2/modules/graphite');
$templates = (new Icinga\Module\Graphite\Graphing\Templates())->loadIni($argv[1]);
while (($metric = fgets(STDIN)) !== false) {
    $metric = rtrim($metric, "\n");
    foreach ($templates->getTemplates($argv[2]) as $name => $template) {
        foreach ($template->getFullCurves() as $curve) {
            if ($curve[0]->reverseResolve($metric) !== false) {
                echo "$metric $name\n";
            }
        }
    }
}
