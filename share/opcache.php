<?php
// The figures of php-fpm's caches as JSON, for the rules of a check of Stagger. It changes nothing.
//
// It answers Stagger alone, which asks php-fpm by its socket. Behind a web server it refuses: what a visitor sends becomes
// parameters that begin with HTTP_, so no visitor can send this one.
declare(strict_types=1);

if (PHP_SAPI !== 'fpm-fcgi') {
    fwrite(STDERR, "these are the figures of php-fpm's own memory: ask it by its socket, with `stagger check`\n");
    exit(1);
}
header('Content-Type: text/plain; charset=utf-8');
header('Cache-Control: no-store');
if (getenv('STAGGER_PROBE') !== '1') {
    http_response_code(403);
    exit("not for visitors\n");
}

function refuse(string $why): never
{
    http_response_code(503);
    exit("$why\n");
}

function mib(float|int $bytes): int
{
    return intdiv((int) $bytes, 1048576);
}

// How much of what is free lies in pieces of less than 5 MiB, in percent, as APCu's own page (apc.php) counts it; one piece alone is
// whole, whatever its size.
function fragmentation(array $memory): float
{
    $pieces = $small = $free = 0;
    foreach ($memory['block_lists'] as $blocks) {
        foreach ($blocks as $block) {
            $pieces += 1;
            $free += $block['size'];
            $small += $block['size'] < 5 * 1048576 ? $block['size'] : 0;
        }
    }
    return $pieces > 1 && $free > 0 ? round(100 * $small / $free, 2) : 0.0;
}

if (!function_exists('opcache_get_status')) {
    refuse('opcache is not loaded (zend_extension=opcache)');
}
$opcache = @opcache_get_status(false);
if ($opcache === false) {
    refuse('opcache does not tell: it is off (opcache.enable), or keeps its figures to other scripts (opcache.restrict_api)');
}
$memory = $opcache['memory_usage'];
$counts = $opcache['opcache_statistics'];

$apcu = function_exists('apcu_enabled') && apcu_enabled();
$apcu_info = $apcu ? apcu_cache_info(true) : false;
$apcu_memory = $apcu ? apcu_sma_info() : false;
$apcu_size = $apcu_memory ? $apcu_memory['num_seg'] * $apcu_memory['seg_size'] : 0;

$figures = [
    'free_mib' => mib($memory['free_memory']),
    'used_mib' => mib($memory['used_memory']),
    'wasted_mib' => mib($memory['wasted_memory']),
    'wasted_percent' => round($memory['current_wasted_percentage'], 2),
    'scripts' => $counts['num_cached_scripts'],
    'keys' => $counts['num_cached_keys'],
    'max_keys' => $counts['max_cached_keys'],
    'full' => $opcache['cache_full'],
    'restart_pending' => $opcache['restart_pending'] || $opcache['restart_in_progress'],
    // Null without APCu: a rule that speaks of it is then an error, and not a no.
    'apcu_free_mib' => $apcu_memory ? mib($apcu_memory['avail_mem']) : null,
    'apcu_used_mib' => $apcu_memory ? mib($apcu_size - $apcu_memory['avail_mem']) : null,
    'apcu_entries' => $apcu_info ? $apcu_info['num_entries'] : null,
    'apcu_fragmentation' => $apcu_memory ? fragmentation($apcu_memory) : null,
];
header('Content-Type: application/json');
echo json_encode($figures, JSON_THROW_ON_ERROR), "\n";
