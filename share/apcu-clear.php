<?php
// Empties APCu's cache, for a rule of a check of Stagger.
//
// It obeys Stagger alone, which asks php-fpm by its socket. Behind a web server it refuses: what a visitor sends becomes
// parameters that begin with HTTP_, so no visitor can send this one.
declare(strict_types=1);

if (PHP_SAPI !== 'fpm-fcgi') {
    fwrite(STDERR, "this is for php-fpm's own memory: it is asked by its socket\n");
    exit(1);
}
header('Content-Type: text/plain; charset=utf-8');
header('Cache-Control: no-store');
if (getenv('STAGGER_PROBE') !== '1') {
    http_response_code(403);
    exit("not for visitors\n");
}
if (!function_exists('apcu_enabled') || !apcu_enabled()) {
    http_response_code(503);
    exit("APCu is not loaded, or off (apc.enabled)\n");
}
if (!apcu_clear_cache()) {
    http_response_code(500);
    exit("APCu did not empty its cache\n");
}
exit("APCu is empty\n");
